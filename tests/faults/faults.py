"""The planned faults, done at their times and written down, each lane beside the others."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.faults.damage import Damage
from tests.faults.history import Recorder
from tests.faults.plan import APART, DATA_LOSS, KILLED_WITHIN, NODE_LOSS, Planned


class Faults:
    def __init__(self, damage: Damage, recorder: Recorder) -> None:
        self._damage, self._recorder = damage, recorder
        self._loses = asyncio.Lock()
        self._data_lost_at = self._node_lost_at = -APART

    async def run(self, lanes: Sequence[Sequence[Planned]]) -> None:
        began_at = time.monotonic()
        supervisor = asyncio.create_task(self._damage.keep_worker(), name="keep worker")
        try:
            async with asyncio.TaskGroup() as running:
                for lane in lanes:
                    running.create_task(self._run_lane(lane, began_at))
        finally:
            supervisor.cancel()
            await asyncio.wait([supervisor])

    async def _run_lane(self, lane: Sequence[Planned], began_at: float) -> None:
        for planned in lane:
            await self._damage.prepare(planned)
            await asyncio.sleep(began_at + planned.at - time.monotonic())
            async with self._apart(planned.kind):
                await self._do(planned)

    async def _do(self, planned: Planned) -> None:
        target = await self._damage.target_of(planned)
        self._recorder.record("fault", fault=planned.kind, target=target, phase="begin")
        await self._damage.of_kind[planned.kind](target, planned)
        self._recorder.record("fault", fault=planned.kind, target=target, phase="end")

    @asynccontextmanager
    async def _apart(self, kind: str) -> AsyncIterator[None]:
        """Keep the loss of a node and the loss of data apart, also when faults take longer than planned."""
        if kind not in DATA_LOSS | NODE_LOSS:
            yield
            return
        async with self._loses:
            other_at = self._node_lost_at if kind in DATA_LOSS else self._data_lost_at
            await asyncio.sleep(other_at + APART - time.monotonic())
            began_at = time.monotonic()
            yield
            if kind in DATA_LOSS:
                self._data_lost_at = time.monotonic()
            else:  # its end is when the node is back
                self._node_lost_at = began_at + KILLED_WITHIN
