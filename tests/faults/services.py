"""The processes of the library, each of which can be killed and started again."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from signal import Signals

import psutil

from tests.running import Running

START_TIMEOUT = 40.0
START_PAUSE = 0.2


class Service:
    """
    A web node or the worker. Its methods block, one call at a time: call them in threads.

    Attributes:
        name: Process name in the history.
        ended_by_itself: What it said last, each time that it ended without a fault of ours.
    """

    def __init__(self, name: str, run: Callable[[], AbstractContextManager[Running]]) -> None:
        self.name = name
        self.ended_by_itself: list[str] = []
        self._run = run
        self._stack = ExitStack()
        self._running: Running | None = None
        self._one_at_a_time = threading.RLock()

    @property
    def process(self) -> psutil.Process:
        assert self._running is not None
        return psutil.Process(self._running.pid)

    def start(self) -> None:
        """
        Start it unless it runs, and again while it does not come up: Redis may be down meanwhile.

        Raises:
            AssertionError: It did not come up within 40 s. The text has its last lines.
        """
        with self._one_at_a_time:
            self._look()
            deadline = time.monotonic() + START_TIMEOUT
            while self._running is None:
                try:
                    self._running = self._stack.enter_context(self._run())
                except AssertionError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(START_PAUSE)

    def kill(self) -> None:
        """End it as a power cut does."""
        with self._one_at_a_time:
            self._look()
            if self._running is not None:
                with suppress(ProcessLookupError):
                    self._running.kill()
            self.stop()

    def stop(self) -> None:
        """End it as an operator does."""
        with self._one_at_a_time:
            self._running = None
            self._stack.close()

    def send_signal(self, number: Signals) -> None:
        if self._running is not None:
            with suppress(ProcessLookupError):
                self._running.send_signal(number)

    def _look(self) -> None:
        """Notice that it has ended by itself, as nothing but a fault should make it."""
        if self._running is not None and (code := self._running.process.poll()) is not None:
            last_line = self._running.log[-1] if self._running.log else ""
            self.ended_by_itself.append(f"{self.name} ended by itself with {code}: {last_line:.200}")
            self.stop()
