"""
Celery's consumer, which outlives the loss of a Redis broker while tasks run that are acknowledged late.

Celery 5.7 closes a lost connection twice: first so that it lets go of its transport, then for good. kombu's channel
gives up its first closing half-way when Redis refuses, and asks for the address of the transport in the second, which
ends the worker: "Unrecoverable error: AttributeError("'NoneType' object has no attribute 'hostname'")". To be deleted
when a Celery is required that does not.
"""

from typing import Any

from celery.worker.consumer import Consumer as CelerysConsumer
from celery.worker.consumer import consumer as celerys
from kombu import Connection

from qrsocket.internals import require
from qrsocket.logger import Logger

logger = Logger(__name__)


class Consumer(CelerysConsumer):
    def on_connection_error_after_connected(self, exc: Exception) -> None:
        connection: Any = self.connection
        try:
            _bound(connection)
            connection._do_close_self()  # noqa: SLF001 - the closing of the channel that may fail
        except Exception:  # noqa: S110 - it is lost; what is left of it is closed now
            pass
        super().on_connection_error_after_connected(exc)


def _bound(connection: Any) -> None:
    """Let no socket of *connection* be waited for any longer, where Celery does so: Redis may be frozen."""
    module: Any = celerys
    if hasattr(module, "bound_open_broker_sockets"):
        module.bound_open_broker_sockets(connection, module.COLLECT_SOCKET_TIMEOUT)


try:
    require("celery", CelerysConsumer, "on_connection_error_after_connected")
    require("kombu", Connection, "_do_close_self")
except ImportError as error:
    logger.warning("this worker may crash if it loses its broker while tasks run: %s", error)
    Consumer = CelerysConsumer  # type: ignore[assignment, misc]
