"""The planned faults, done at their times and written down, each lane beside the others."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf

from tests.faults.damage import Damage
from tests.faults.history import Recorder
from tests.faults.plan import (
    APART,
    DATA_LOSS,
    GAPS,
    KILLED_WITHIN,
    KINDS,
    NODE_AWAY,
    NODE_LOSS,
    OUTAGES,
    SETTLING,
    Planned,
)

CHECK_PAUSE = 0.05


class Faults:
    def __init__(self, damage: Damage, recorder: Recorder) -> None:
        self._damage, self._recorder = damage, recorder
        self._loses = asyncio.Lock()
        self._data_lost_at = self._node_lost_at = -APART
        self._is_losing_data = False
        self._away = 0  # nodes that are frozen, or cut off from Redis
        self._settled_at = self._back_at = -SETTLING

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
        free_at = began_at
        for planned in lane:
            await self._damage.prepare(planned)
            # Behind the plan, as on a busy machine, the pauses stay: what has just come back needs them.
            await asyncio.sleep(max(began_at + planned.at, free_at) - time.monotonic())
            async with self._apart(planned.kind):
                await self._do(planned)
            free_at = time.monotonic() + GAPS[KINDS[planned.kind].lane][0] + KINDS[planned.kind].recovery

    async def _do(self, planned: Planned) -> None:
        target = await self._damage.target_of(planned)
        self._recorder.record("fault", fault=planned.kind, target=target, phase="begin")
        await self._damage.of_kind[planned.kind](target, planned)
        self._recorder.record("fault", fault=planned.kind, target=target, phase="end")

    @asynccontextmanager
    async def _apart(self, kind: str) -> AsyncIterator[None]:
        """Keep the loss of data apart from what is done to nodes, also when faults take longer than planned."""
        if kind in DATA_LOSS | NODE_LOSS:
            async with self._one_loses(kind):
                yield
        elif kind in NODE_AWAY:
            while self._is_losing_data or time.monotonic() < self._settled_at:
                await asyncio.sleep(CHECK_PAUSE)
            self._away += 1
            yield
            self._away -= 1
            self._back_at = time.monotonic()
        elif kind in OUTAGES and time.monotonic() < self._settled_at:
            self._settled_at = inf  # time without Redis does not count
            yield
            self._settled_at = time.monotonic() + SETTLING
        else:
            yield

    @asynccontextmanager
    async def _one_loses(self, kind: str) -> AsyncIterator[None]:
        async with self._loses:
            other_at = self._node_lost_at if kind in DATA_LOSS else self._data_lost_at
            await asyncio.sleep(other_at + APART - time.monotonic())
            if kind in NODE_LOSS:
                self._node_lost_at = time.monotonic() + KILLED_WITHIN  # its end is when the node is back
                yield
                return
            self._is_losing_data = True
            while self._away or time.monotonic() < self._back_at + SETTLING:
                await asyncio.sleep(CHECK_PAUSE)
            yield
            self._data_lost_at = time.monotonic()
            self._settled_at = self._data_lost_at + SETTLING
            self._is_losing_data = False
