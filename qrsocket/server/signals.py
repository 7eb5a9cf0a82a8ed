"""
SIGTERM and SIGINT: the clients are let go first, and then the server gets the signal. uvicorn would close all sockets
at once, and end the lifespan after it.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], Any]
Action: TypeAlias = Handler | signal.Handlers

# What the last clients were told is written within this.
WRITE_TIME = 0.05
# So long after the clients have gone the process has ended, whatever hangs in it: a loop that is blocked, say.
LAST_RESORT = 15.0
HANGS = b"qrsocket: something hangs in this process: it ends without it\n"

_together = 0


def take_time(together: int) -> None:
    """
    Let this process take `drain_seconds` to let its clients go. Otherwise they go all at once, since what runs the
    process may kill it soon.

    Args:
        together: Processes that are stopped with it, itself among them.
    """
    global _together
    _together = together


class LetGo(Protocol):
    """Lets the clients go; must not block."""

    def __call__(self, seconds: float, together: int, then: Callable[[], None]) -> None:
        """
        Args:
            seconds: For all of them.
            together: Nodes that are stopped with this one, itself among them; 0 if that is not known.
            then: Called when they have gone.
        """
        ...


@contextmanager
def clients_first(let_go: LetGo, seconds: float) -> Iterator[None]:
    """
    Keep the signals that end this process from its server until *let_go* is done.

    Args:
        seconds: For that, if this process may take time.
    """
    server = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(server):
        yield
        return
    loop = asyncio.get_running_loop()

    def begin(number: int, _frame: FrameType | None) -> None:
        for each in actions:
            signal.signal(each, following)
        if _together:
            signal.signal(signal.SIGALRM, _end_at_once)
            signal.setitimer(signal.ITIMER_REAL, seconds + LAST_RESORT)
        loop.call_soon_threadsafe(let_go, seconds if _together else 0.0, _together, lambda: hand_over(number))

    def hand_over(number: int) -> None:
        loop.call_later(WRITE_TIME, server, number, None)

    actions, following = _actions(begin, server)
    before = {number: signal.signal(number, action) for number, action in actions.items()}
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is begin:
            for number, action in before.items():
                signal.signal(number, action)


def _actions(begin: Handler, server: Handler) -> tuple[dict[signal.Signals, Action], Action]:
    """Return what is done on the first of each of these signals, and on those after it."""
    if not _together:
        return {signal.SIGTERM: begin}, server
    if multiprocessing.parent_process() is None:
        return {signal.SIGTERM: begin, signal.SIGINT: begin}, _end_at_once
    # One of several workers. A terminal sends SIGINT, and systemd SIGTERM, to all processes, and the parent SIGTERM as
    # well: more than one means nothing.
    return {signal.SIGTERM: begin, signal.SIGINT: signal.SIG_IGN}, signal.SIG_IGN


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    # Not the default action: the first process of a container has none.
    if number == signal.SIGALRM:
        os.write(2, HANGS)
    os._exit(128 + number)
