"""The application's on_online and on_offline hooks: one after the other for each user."""

import asyncio
import logging
from weakref import WeakValueDictionary

from qrsocket import audience
from qrsocket.context import Context, running_for
from qrsocket.presence.table import Edge
from qrsocket.server.parameters import Function

logger = logging.getLogger(__name__)


class Hooks:
    """
    Attributes:
        online, offline: Of every router of the application; each runs for every edge.
    """

    def __init__(self, timeout: float) -> None:
        self.online: list[Function] = []
        self.offline: list[Function] = []
        self._timeout = timeout
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, edge: Edge) -> None:
        """Run the hooks of *edge*, after those of the user's earlier edges. An exception is logged, not retried."""
        user = audience.user_of(edge.audience)
        if user is None:
            return
        lock = self._locks.setdefault(user, asyncio.Lock())
        async with lock:
            for hook in self.online if edge.online else self.offline:
                await self._run_one(hook, user)

    async def _run_one(self, hook: Function, user: str) -> None:
        try:
            with running_for(Context(user=user)):
                async with asyncio.timeout(self._timeout):
                    await hook({"user_id": user})
        except Exception:
            logger.exception("hook failed", extra={"hook": hook.name, "user": user})
