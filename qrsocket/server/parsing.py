"""Large documents are parsed one at a time, in a thread: whoever sends them holds up nobody else."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from qrsocket.server.inbox import Inbox

T = TypeVar("T")

# A smaller one takes a few ms at worst, and far less than the way to a thread and back as a rule.
LARGE_BYTES = 8 * 1024
LONGEST_WAIT = 1.0


class ClientGone(Exception):
    """Raised instead of parsing what nobody waits for any more."""


class Turns:
    """
    One at a time. Of those who wait, each owner has one turn before any has another, however many it waits for.

    Source: "round robin", https://en.wikipedia.org/wiki/Fair_queuing
    """

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def of(self, owner: str) -> AsyncIterator[None]:
        """Wait for a turn of *owner*, and have it until the block ends."""
        if self._is_taken:
            await self._called(owner)
        self._is_taken = True
        try:
            yield
        finally:
            self._call_next()

    async def _called(self, owner: str) -> None:
        call = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(call)
        try:
            await call
        except asyncio.CancelledError:
            if call.done() and not call.cancelled():
                self._call_next()  # it was called, and has no use for it
            raise

    def _call_next(self) -> None:
        """Call the next one; the turn stays taken meanwhile."""
        self._is_taken = False
        while self._waiting and not self._is_taken:
            owner, calls = self._waiting.popitem(last=False)
            call = calls.popleft()
            if calls:
                self._waiting[owner] = calls  # behind the others
            if not call.done():
                call.set_result(None)
                self._is_taken = True


class Parsing:
    """Of one node. All large documents share it, since Python runs one thread at a time."""

    def __init__(self) -> None:
        self._turns = Turns()
        self._threads: CapacityLimiter | None = None

    async def run(self, owner: str, size_bytes: int, parse: Callable[[], T], inbox: Inbox | None = None) -> T:
        """
        Return what *parse* makes of a document of *size_bytes*, or raise what it raises.

        Args:
            owner: Whose document it is.
            inbox: Of the client that sent it: the CPU time is charged to it, and while it owes some it waits.

        Raises:
            ClientGone: The client has gone while the document waited.
        """
        while True:
            await paid(inbox)
            if size_bytes < LARGE_BYTES:
                return _charged(inbox, *_timed(parse))
            async with self._turns.of(owner):
                if inbox is not None and inbox.is_closed:
                    raise ClientGone
                if inbox is not None and inbox.owed(time.monotonic()):
                    continue  # for another message of the same client, whose turn was before this one's
                # Threads of its own: those that all `def` handlers share may be taken.
                self._threads = self._threads or CapacityLimiter(1)
                return _charged(inbox, *await to_thread.run_sync(_timed, parse, limiter=self._threads))


async def paid(inbox: Inbox | None) -> None:
    """
    Wait until the client of *inbox* owes nothing.

    Raises:
        ClientGone: It has gone meanwhile.
    """
    while inbox is not None and (wait := inbox.owed(time.monotonic())):
        await asyncio.sleep(min(wait, LONGEST_WAIT))
        if inbox.is_closed:
            raise ClientGone


def _timed(parse: Callable[[], T]) -> tuple[float, T | None, BaseException | None]:
    began = time.thread_time()
    try:
        result = parse()
    except Exception as error:  # it is raised again where it was waited for
        return time.thread_time() - began, None, error
    return time.thread_time() - began, result, None


def _charged(inbox: Inbox | None, seconds: float, result: T | None, error: BaseException | None) -> T:
    if inbox is not None:
        inbox.charge_seconds(seconds)
    try:
        if error is not None:
            raise error
    finally:
        del error  # which holds this frame by its traceback
    return result  # type: ignore[return-value]
