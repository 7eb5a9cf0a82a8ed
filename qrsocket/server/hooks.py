"""The application's on_online and on_offline hooks: one after the other for each user."""

import asyncio
import logging
from collections.abc import Iterable
from weakref import WeakValueDictionary

from qrsocket import audience
from qrsocket.context import Context, running_for
from qrsocket.presence.table import Edge
from qrsocket.server.parameters import Function

logger = logging.getLogger(__name__)

# Fewer than the 40 threads that anyio runs at once, so that `def` hooks leave some to message handlers.
HOOKS_AT_ONCE = 20


class Hooks:
    """
    Attributes:
        online, offline: Of every router of the application; each runs for every edge.
    """

    def __init__(self, timeout: float) -> None:
        self.online: list[Function] = []
        self.offline: list[Function] = []
        self._timeout = timeout
        self._at_once = asyncio.Semaphore(HOOKS_AT_ONCE)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def add(self, online: Iterable[Function], offline: Iterable[Function]) -> None:
        """Add a router's hooks, each once: a router may be included in several places."""
        self.online += [hook for hook in online if hook not in self.online]
        self.offline += [hook for hook in offline if hook not in self.offline]

    async def run(self, edge: Edge) -> None:
        """Run the hooks of *edge*, after those of the user's earlier edges. An exception is logged, not retried."""
        user = audience.user_of(edge.audience)
        if user is None:
            return
        lock = self._locks.setdefault(user, asyncio.Lock())
        # The time of a hook begins when it begins: when a node dies, thousands wait for each other.
        async with lock, self._at_once:
            for hook in self.online if edge.online else self.offline:
                await self._run_one(hook, user)

    async def _run_one(self, hook: Function, user: str) -> None:
        try:
            with running_for(Context(user=user)):
                async with asyncio.timeout(self._timeout):
                    await hook({"user_id": user})
        except Exception:
            logger.exception("hook failed", extra={"hook": hook.name, "user": user})
