"""The application's on_online and on_offline hooks. That each runs once, and in order, is the mailbox's work."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from starlette.requests import HTTPConnection

from qrsocket import events
from qrsocket.context import Context, running_for
from qrsocket.events import HookRan
from qrsocket.logger import Logger
from qrsocket.presence.answers import Transition
from qrsocket.server.failing import from_the_application, raise_if_ending
from qrsocket.server.parameters import Function, Kind
from qrsocket.settings import Settings
from qrsocket.streams import user_of

logger = Logger(__name__)

# Fewer than the 40 threads that anyio runs at once, so that `def` hooks leave some to message handlers.
HOOKS_AT_ONCE, LEAVING_AT_ONCE = 20, 10

PARAMETERS = frozenset({"user_id", "event_id", "attempt"})
ON_ONLINE = Kind("on_online", PARAMETERS, has_connection=False)
ON_OFFLINE = Kind("on_offline", PARAMETERS, has_connection=False)


class Hooks:
    """
    Attributes:
        online, offline: Of every router of the application; each runs for every transition.
        leaving: Held by each `on_leave` that runs: not the turns of the others, who would wait for thousands of them.
    """

    def __init__(self, timeout: float, app: Any = None, settings: Settings | None = None) -> None:
        """
        Args:
            settings: That the application was given, if it was.
            app: The application, whose `dependency_overrides` count for what hooks depend on.
        """
        self.online: list[Function] = []
        self.offline: list[Function] = []
        self._timeout, self._settings = timeout, settings
        self._nobody = HTTPConnection({"type": "http", "app": app, "path": "", "query_string": b"", "headers": []})
        self._at_once, self.leaving = asyncio.Semaphore(HOOKS_AT_ONCE), asyncio.Semaphore(LEAVING_AT_ONCE)

    def add(self, online: Iterable[Function], offline: Iterable[Function]) -> None:
        """Add a router's hooks, each once: a router may be included in several places."""
        self.online += [hook for hook in online if hook not in self.online]
        self.offline += [hook for hook in offline if hook not in self.offline]

    async def run(self, transition: Transition, begin: Callable[[Transition], bool]) -> bool:
        """
        Run the hooks of *transition*, and return whether they ran. An exception is logged, not retried.

        Args:
            begin: Tells whether they are still to run, when their turn comes.
        """
        # The time of a hook begins when it begins: when a node dies, thousands wait for each other.
        async with self._at_once:
            if not begin(transition):
                return False
            for hook in self.online if transition.online else self.offline:
                await self._run_one(hook, transition)
        return True

    async def _run_one(self, hook: Function, transition: Transition) -> None:
        user, began_at, failure = user_of(transition.stream), time.monotonic(), None
        try:
            with running_for(Context(user=user, settings=self._settings)):
                async with asyncio.timeout(self._timeout):
                    values = {"user_id": user, "event_id": transition.id, "attempt": transition.attempt}
                    await hook(values, self._nobody)
        except BaseException as error:  # also if what it waited for was cancelled: it is over all the same
            raise_if_ending(error)
            facts = {"hook": hook.name, "user": user, "event_id": transition.id, "attempt": transition.attempt}
            logger.error("hook failed", exc_info=from_the_application(error), **facts)
            failure = type(error).__name__
        id, attempt, seconds = transition.id, transition.attempt, time.monotonic() - began_at
        logger.debug(
            "hook ran", hook=hook.name, user=user, event_id=id, attempt=attempt, error=failure, seconds=seconds
        )
        if events.observers:
            events.notify(HookRan(hook.name, transition.kind, user or "", id, attempt, failure, seconds))
