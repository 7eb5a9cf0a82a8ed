"""What `qrsocket serve` runs: uvicorn with our defaults, in this process or in several."""

import copy
import gc
import logging
import os
import signal
import sys
import time
from inspect import signature
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG
from uvicorn.supervisors import Multiprocess

from qrsocket.cli.failed import Failed
from qrsocket.cli.loading import load
from qrsocket.server.finding import options_for_uvicorn
from qrsocket.server.signals import take_time
from qrsocket.settings import get_settings

logger = logging.getLogger("uvicorn.error")

# As uvicorn has it: a process that exits so will not start the next time, either.
STARTUP_FAILURE = 3
# Requests, and handlers of messages, that still run when the last client is closed get so many seconds.
GRACEFUL_SHUTDOWN = 5


class Config(uvicorn.Config):
    """Begins in each process that serves, which with several workers is not the one that has made it."""

    def __init__(self, app: str, **options: Any) -> None:
        level = options.pop("log_level", None) or "info"
        super().__init__(
            app,
            **{
                **options_for_uvicorn(get_settings()),
                "timeout_graceful_shutdown": GRACEFUL_SHUTDOWN,
                "log_config": log_config(level),
                # uvicorn's own lines at DEBUG are the frames, and the heads of requests with cookies and queries.
                "log_level": "info" if level == "debug" else level,
                **options,
            },
        )

    def load(self) -> None:
        take_time(self.workers)
        try:
            self.app = load(str(self.app))
        except Failed as error:
            logger.error("%s", error)
            sys.exit(STARTUP_FAILURE)
        super().load()
        _collect_garbage_rarely()


class Workers(Multiprocess):
    """
    Several processes that take connections from one socket.

    Attributes:
        have_failed: One of them could not start, and so all end.
    """

    have_failed = False

    def keep_subprocess_alive(self) -> None:
        """Begin again what was killed; but not what cannot start, as an older uvicorn would without end."""
        processes = tuple(self.processes)
        super().keep_subprocess_alive()
        if any(worker.process.exitcode == STARTUP_FAILURE for worker in processes):
            self.have_failed = True
            self.should_exit.set()

    def join_all(self) -> None:
        """Wait for the workers, which let their clients go first. A second signal ends them at once."""
        while any(worker.process.is_alive() for worker in self.processes):
            if {signal.SIGTERM, signal.SIGINT} & set(self.signal_queue):
                for worker in self.processes:
                    worker.process.kill()
            time.sleep(0.05)
        super().join_all()


def run(config: Config) -> None:
    """
    Serve until a signal comes.

    Raises:
        Failed: The application cannot be imported, or no worker has started.
    """
    try:
        if config.workers > 1:
            # An older uvicorn wants to be told what a process runs.
            target = {"target": uvicorn.Server(config).run} if "target" in signature(Multiprocess).parameters else {}
            workers = Workers(config, sockets=[config.bind_socket()], **target)
            workers.run()
            if workers.have_failed:
                raise Failed("the workers have not started; the lines above say why")
            return
        load(str(config.app))  # first, so that what is wrong is said in one line
        server = uvicorn.Server(config)
        server.run()
        if not server.started:
            sys.exit(STARTUP_FAILURE)
    except KeyboardInterrupt:
        pass  # uvicorn raises it once it has ended
    finally:
        if config.uds and os.path.exists(config.uds):
            os.remove(config.uds)


def _collect_garbage_rarely() -> None:
    """
    What is loaded stays, and connections stay for long: to look through all of them after each 700 new objects, as
    Python does, is a third of what a handshake costs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def log_config(level: str) -> dict[str, Any]:
    """Return uvicorn's, with our lines in it."""
    found: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    ours = "DEBUG" if level == "trace" else level.upper()
    found["loggers"]["qrsocket"] = {"handlers": ["default"], "level": ours, "propagate": False}
    return found
