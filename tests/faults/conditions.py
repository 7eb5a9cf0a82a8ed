"""What all processes of a fault run agree on: the settings, the users, the canary, and that none outlives the run."""

import ctypes
import os
import signal
import sys
from functools import cache
from pathlib import Path

LEASE, TICK, GRACE = 3.0, 0.3, 1.0
REDIS_TIMEOUT = 1.0
HANDLER_TIMEOUT = 3.0
HOOK_TIMEOUT = 3.0
SETTINGS = {
    "LEASE": LEASE,
    "RENEW_INTERVAL": TICK,
    "OFFLINE_GRACE": GRACE,
    "REDIS_TIMEOUT": REDIS_TIMEOUT,
    "HANDLER_TIMEOUT": HANDLER_TIMEOUT,
    "HOOK_TIMEOUT": HOOK_TIMEOUT,
    "MAX_CONNECTIONS_PER_USER": 50,
    "COMPRESSION": True,
}

NODES = ("n1", "n2", "n3", "n4")
# No node fault ever hits it; it has the clients that never leave.
SPARED_NODE = "n4"

USERS = tuple(f"u{number:02}" for number in range(1, 26))

# Topics. The members of rooms are told, and devices join and leave them. The application has devices join feeds when
# they connect, and little is sent to each: if a node has missed a message of one, no later message tells it so.
ROOMS = tuple(f"room:{number}" for number in range(1, 5))
FEEDS = tuple(f"feed:{number:02}" for number in range(1, 81))
EVERYONE = "*"

# Users with two devices that see what becomes of their jobs.
WATCHERS = ("u01", "u05", "u07", "u09", "u13")

# Redis' password, and in every payload: it must be in no log.
CANARY = "canary-3f9d07c1"

FOLDER, DRIVER, MUTATION = "FAULTS_FOLDER", "FAULTS_DRIVER", "FAULTS_MUTATION"

_libc = ctypes.CDLL(None)


def environment(folder: Path, redis_port: int, **more: str) -> dict[str, str]:
    """Return what a process of the run needs in its environment. *redis_port* is Redis' own, or that of a proxy."""
    return {
        **{f"QRSOCKET_{name}": f"{value:g}" for name, value in SETTINGS.items()},
        "QRSOCKET_REDIS_URL": f"redis://:{CANARY}@127.0.0.1:{redis_port}/0",
        "QRSOCKET_SIGNING_KEYS": CANARY * 3,
        FOLDER: str(folder),
        DRIVER: str(os.getpid()),
        **more,
    }


def folder() -> Path:
    """Return where this process writes its history."""
    return Path(os.environ[FOLDER])


def end_with_driver() -> None:
    """Let this process, and what it forks, be killed when the driver is: nothing of a run stays behind."""
    end_with_parent()
    os.register_at_fork(after_in_child=end_with_parent)
    if os.getppid() != int(os.environ[DRIVER]):
        sys.exit("the driver has gone")


def end_with_parent() -> None:
    """Ask Linux to kill this process when its parent is gone; elsewhere only an orderly end takes all with it."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # prctl(2)
        _libc.prctl(pr_set_pdeathsig, signal.SIGKILL)


@cache
def apply_mutation() -> None:
    """
    Break the library on purpose, once, if this run is to show that the judge sees it.

    Call it before anything of the library is used.
    """
    if MUTATION in os.environ:
        from tests.faults import mutations

        mutations.apply()
