"""Asking Redis on behalf of a verb: for how long, how many at once, and whether it is worth a try."""

import asyncio
import time
from collections.abc import Iterable
from math import isfinite
from types import TracebackType
from typing import TypeVar

from qrsocket import clients
from qrsocket.errors import Unavailable
from qrsocket.failures import has_answered
from qrsocket.patience import Patience
from qrsocket.per_loop import PerLoop
from qrsocket.roundtrip import Call, arun_all, run_all
from qrsocket.sender.circuit import circuit_of
from qrsocket.settings import Settings

T = TypeVar("T")

# On one event loop. Blocking code makes as many as it has threads.
MOST_AT_ONCE = 1_000


async def ask(settings: Settings, calls: Iterable[Call[T]], wait: float | None = None) -> list[T]:
    """
    Make all *calls* of a verb, one after the other.

    Args:
        wait: Seconds for all of them together, in which it is tried again whatever goes wrong. None: `redis_timeout`,
            and only if Redis did not fail a moment ago.

    Raises:
        NotTried: It did.
        Unavailable: Redis did not answer in time, or too many others were under way all the time.
    """
    with _Asking(settings, wait) as asking:
        turn = await _turn(asking.patience)
        try:
            return await arun_all(clients.awaiting(settings), calls, asking.patience)
        finally:
            turn.release()


def ask_blocking(settings: Settings, calls: Iterable[Call[T]], wait: float | None = None) -> list[T]:
    """Make all *calls* of a verb, blocking; otherwise as `ask`."""
    with _Asking(settings, wait) as asking:
        return run_all(clients.blocking(settings), calls, asking.patience)


def checked(wait: float | None) -> float | None:
    """
    Raises:
        ValueError: *wait* is not a time to wait.
    """
    if wait is not None and not (isfinite(wait) and wait > 0):
        raise ValueError("wait must be finite seconds above 0; leave it out to try for QRSOCKET_REDIS_TIMEOUT")
    return wait


class _Asking:
    """What the calls of a verb mean to the circuit: whether they may begin, and what their end says of Redis."""

    __slots__ = ("_began", "_circuit", "_usual", "patience")

    def __init__(self, settings: Settings, wait: float | None) -> None:
        self._usual = settings.redis_timeout
        self._circuit = circuit_of(settings.redis_url.get_secret_value())
        self._began = time.monotonic()
        if wait is None:
            self._circuit.admit(self._began, timeout=self._usual)
            self.patience = Patience(self._usual)
        else:
            self.patience = Patience(wait, attempt=self._usual)

    def __enter__(self) -> "_Asking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        answered = has_answered(error)
        if answered:
            self._circuit.answered(time.monotonic())
        elif answered is False and self.patience.timeout >= self._usual:
            # To have had no answer in less time than usual says nothing to calls that have more.
            self._circuit.failed(time.monotonic(), began=self._began)


async def _turn(patience: Patience) -> asyncio.Semaphore:
    """Wait for a turn, and return what is to be told when it is over."""
    turns = _turns.get()
    if not turns.locked():
        await turns.acquire()  # at once, so that most need no timeout
        return turns
    try:
        async with asyncio.timeout(patience.left()):
            await turns.acquire()
    except TimeoutError:
        raise Unavailable(f"{MOST_AT_ONCE} other calls are running", patience.timeout) from None
    return turns


_turns = PerLoop(lambda: asyncio.Semaphore(MOST_AT_ONCE))
