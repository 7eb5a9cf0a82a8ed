"""Children that end with us, even when we are killed and can end nothing any more."""

import ctypes
import signal
import sys
import threading
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # prctl(2)


def killed_with_parent() -> Callable[[], object] | None:
    """
    Return what a child is to run first (`preexec_fn`), for Linux to kill it when we are; None where that cannot be.

    Linux looks at the thread that has started it: one that ends before we do would take the child with it.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    libc = ctypes.CDLL(None)  # loaded here: a child of a process with threads should do as little as it can
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
