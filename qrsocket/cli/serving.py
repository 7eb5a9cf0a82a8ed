"""What `qrsocket serve` runs: uvicorn with our defaults, in this process or in several."""

import copy
import gc
import logging
import os
import signal
import sys
import time
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG, STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from qrsocket.cli.failed import Failed
from qrsocket.cli.loading import load
from qrsocket.server.http_protocol import HttpProtocol
from qrsocket.server.protocol import WebSocketProtocol
from qrsocket.server.signals import take_time

logger = logging.getLogger("uvicorn.error")

# Requests, and handlers of messages, that still run when the last client is closed get so many seconds.
GRACEFUL_SHUTDOWN = 5


class Config(uvicorn.Config):
    """Begins in each process that serves, which with several workers is not the one that has made it."""

    def __init__(self, app: str, **options: Any) -> None:
        level = options.get("log_level") or "info"
        super().__init__(
            app,
            **{
                "http": HttpProtocol,
                "ws": WebSocketProtocol,
                "timeout_graceful_shutdown": GRACEFUL_SHUTDOWN,
                "log_config": log_config(level),
                **options,
            },
        )

    def load_app(self) -> Any:
        take_time(self.workers)
        try:
            app = load(str(self.app))
        except Failed as error:
            logger.error("%s", error)
            sys.exit(STARTUP_FAILURE)
        _collect_garbage_rarely()
        return app


class Workers(Multiprocess):
    """Several processes that take connections from one socket."""

    @property
    def have_failed(self) -> bool:
        return any(worker.exitcode == STARTUP_FAILURE for worker in self.processes)

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
            workers = Workers(config, sockets=[config.bind_socket()])
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
    """Return uvicorn's, with our lines in it. That a socket was opened is in its own, and is told twice on request."""
    found: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    is_detailed = level in ("debug", "trace")
    found["loggers"] |= {
        "qrsocket": {"handlers": ["default"], "level": "DEBUG" if is_detailed else level.upper(), "propagate": False},
        "qrsocket.server.session": {"level": "DEBUG" if is_detailed else "WARNING"},
    }
    return found
