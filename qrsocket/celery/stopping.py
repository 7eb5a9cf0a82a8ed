"""How a job is stopped that does not look whether it should: by a signal, where it has its process to itself."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qrsocket.celery.run import JobCancelled, Run

STOP_SIGNAL = signal.SIGUSR2

_in_main_thread: Run | None = None


def allow_signals() -> None:
    """Let jobs of this process be stopped by a signal. For a process whose main thread runs jobs and nothing else."""
    if signal.getsignal(STOP_SIGNAL) is signal.SIG_DFL:  # otherwise it is somebody's
        signal.signal(STOP_SIGNAL, _on_signal)


@contextmanager
def stoppable(run: Run) -> Iterator[None]:
    """Let *run* be stopped, if it is the main thread's, until the block ends."""
    global _in_main_thread
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, _in_main_thread = _in_main_thread, run
    try:
        yield
    finally:
        _in_main_thread = before


def stop(run: Run) -> None:
    """Break off what *run* does or waits for, if that can be done here and it does not stop already."""
    if not run.is_stopping and run is _in_main_thread and signal.getsignal(STOP_SIGNAL) is _on_signal:
        # To the thread and not to the process: only so it interrupts what the thread waits for.
        signal.pthread_kill(threading.main_thread().ident or 0, STOP_SIGNAL)


def _on_signal(_number: int, _frame: Any) -> None:
    if _in_main_thread is not None and not _in_main_thread.is_stopping and _in_main_thread.looks():
        raise JobCancelled
