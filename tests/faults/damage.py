"""How each kind of fault is done to a process, and undone, whatever happens meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import TypeAlias

from tests.faults.blocking import blocking
from tests.faults.conditions import GRACE, SPARED_NODE, TICK
from tests.faults.plan import KILLED_WITHIN, Planned
from tests.faults.services import Service
from tests.faults.stage import Stage

# Does a fault from its beginning to its end, to a target, which is empty where there is but one.
Do: TypeAlias = Callable[[str, Planned], Awaitable[None]]

ORDER_TIMEOUT = 5.0
FLOOD_TIMEOUT = 30.0
# Long enough for a hook, and less than a lease.
LATE = GRACE + 3 * TICK
HISTORY_PAUSE = 0.002


class Damage:
    """
    Attributes:
        of_kind: How to do each kind of fault.
    """

    def __init__(self, stage: Stage, histories: Path) -> None:
        self._redis, self._proxies, self._nodes = stage.redis, stage.proxies, stage.nodes
        self._worker, self._crowd, self._awaiting = stage.worker, stage.crowd, stage.awaiting
        self._histories = histories
        self.of_kind: dict[str, Do] = {
            "kill-clients": self._kill_clients,
            "pause-redis": self._pause_redis,
            "restart-redis": self._restart_redis,
            "stop-redis": self._stop_redis,
            "down-redis": self._down_redis,
            "rollback-redis": self._rollback_redis,
            "wipe-redis": self._wipe_redis,
            "full-redis": self._full_redis,
            "cut-relay": self._cut_relay,
            "kill-node": self._kill_node,
            "stop-node": self._stop_node,
            "cut-node": self._cut_node,
            "kill-worker": self._kill_worker,
            "deaf-client": self._deafen_client,
        }

    async def prepare(self, planned: Planned) -> None:
        """Do what must be done some time before it."""
        if planned.kind == "rollback-redis":
            await blocking(self._redis.keep_dump)

    async def target_of(self, planned: Planned) -> str:
        """Name what the fault is done to, as in the history."""
        match planned.kind:
            case "kill-worker":
                return self._worker.name
            case "deaf-client":
                device: str = await self._crowd.ask("choose", timeout=ORDER_TIMEOUT)
                return device
            case _:
                return planned.target or "redis"

    async def keep_worker(self) -> None:
        """Start the worker when it has ended by itself, as kombu lets it when Redis is full, say."""
        while True:
            await blocking(self._worker.start)
            await asyncio.sleep(1)

    async def _kill_clients(self, _target: str, planned: Planned) -> None:
        await blocking(self._redis.kill_clients, of_type="pubsub")
        if planned.variant < 0.5:  # otherwise only what the nodes listen with: nothing but their listening tells them
            await blocking(self._redis.kill_clients, of_type="normal")

    async def _pause_redis(self, _target: str, planned: Planned) -> None:
        await blocking(self._redis.pause, planned.seconds)

    async def _restart_redis(self, _target: str, _planned: Planned) -> None:
        await blocking(self._redis.restart)

    async def _stop_redis(self, _target: str, planned: Planned) -> None:
        async with self._seen_late(planned):
            self._redis.freeze()
            try:
                await asyncio.sleep(planned.seconds)
            finally:
                self._redis.thaw()

    async def _down_redis(self, _target: str, planned: Planned) -> None:
        async with self._seen_late(planned):
            await blocking(self._redis.kill)
            await asyncio.sleep(planned.seconds)
            await blocking(self._redis.start)

    @asynccontextmanager
    async def _seen_late(self, planned: Planned) -> AsyncIterator[None]:
        """
        Let the node with the permanent clients see the end of an outage later than the others, who must not take it for
        dead.
        """
        if planned.variant < 0.25:
            yield
            return
        async with self._proxies[SPARED_NODE].hanging():
            yield
            await asyncio.sleep(LATE)

    async def _rollback_redis(self, _target: str, planned: Planned) -> None:
        await blocking(self._redis.kill)
        await self._scatter_clients()
        await asyncio.sleep(planned.seconds)
        await blocking(self._redis.roll_back)

    async def _wipe_redis(self, _target: str, planned: Planned) -> None:
        if planned.variant < 0.5:
            await self._scatter_clients()
            await blocking(self._redis.flush)
            return
        await blocking(self._redis.kill)
        await self._scatter_clients()
        await asyncio.sleep(planned.seconds)
        await blocking(self._redis.wipe)

    async def _scatter_clients(self) -> None:
        """Have many come back to nodes that do not know them, when Redis does not know them either."""
        await self._crowd.ask("scatter", timeout=ORDER_TIMEOUT)

    async def _full_redis(self, _target: str, planned: Planned) -> None:
        await blocking(self._redis.fill)
        try:
            await asyncio.sleep(planned.seconds)
        finally:
            await blocking(self._redis.unfill)

    async def _cut_relay(self, _target: str, planned: Planned) -> None:
        await blocking(self._redis.cut_a_relay, timeout=planned.seconds)

    async def _kill_node(self, node: str, planned: Planned) -> None:
        if planned.variant < 0.7:  # in the midst of a hook, which another node must then run
            await self._until_written(b'"hook"', f"{node}.jsonl")
        await self._kill(self._nodes[node], planned.seconds)

    async def _stop_node(self, node: str, planned: Planned) -> None:
        self._nodes[node].send_signal(SIGSTOP)
        try:
            await asyncio.sleep(planned.seconds)
        finally:
            self._nodes[node].send_signal(SIGCONT)

    async def _cut_node(self, node: str, planned: Planned) -> None:
        proxy = self._proxies[node]
        async with proxy.hanging() if planned.variant < 0.6 else proxy.resetting():
            await asyncio.sleep(planned.seconds)
        if planned.variant < 0.3:  # what hung is not always passed on later
            proxy.reset()

    async def _kill_worker(self, _target: str, planned: Planned) -> None:
        if planned.variant < 0.7:  # in the midst of a job, which is then done again
            await self._until_written(b'"sent"', "worker-*.jsonl")
        await self._kill(self._worker, planned.seconds)

    async def _deafen_client(self, device: str, planned: Planned) -> None:
        user = await self._crowd.ask("deafen", device=device, timeout=ORDER_TIMEOUT)
        try:
            if planned.variant < 0.5:  # so much is sent to it that its node must let go of it
                await self._awaiting.ask("flood", user=user, timeout=FLOOD_TIMEOUT)
            await asyncio.sleep(planned.seconds)
        finally:
            await self._crowd.ask("hear", device=device, timeout=ORDER_TIMEOUT)

    async def _kill(self, service: Service, seconds: float) -> None:
        await blocking(service.kill)
        await asyncio.sleep(seconds)
        await blocking(service.start)

    async def _until_written(self, words: bytes, histories: str) -> None:
        """Wait until *words* are written to one of the files that the pattern *histories* names, but not for long."""
        deadline = time.monotonic() + KILLED_WITHIN
        sizes = {path: path.stat().st_size for path in self._histories.glob(histories)}
        while time.monotonic() < deadline:
            for path in self._histories.glob(histories):
                with path.open("rb") as lines:
                    lines.seek(sizes.get(path, 0))
                    written = lines.read()
                if words in written:
                    return
                sizes[path] = sizes.get(path, 0) + len(written)
            await asyncio.sleep(HISTORY_PAUSE)
