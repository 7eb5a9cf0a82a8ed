"""Tells the log, and those who observe, that a connection was opened and that it has ended."""

import logging
import time

from qrsocket import events
from qrsocket.errors import CloseCode
from qrsocket.events import Closed, Connected
from qrsocket.server.connection import Connection

logger = logging.getLogger(__name__)


def note_opened(connection: Connection) -> None:
    logger.info("socket opened", extra={"connection": connection.id, "user": connection.user})
    if events.observers:
        events.notify(Connected(connection.id, connection.user, _protocol(connection)))


def note_closed(connection: Connection, opened_at: float | None) -> None:
    """
    Args:
        opened_at: On the clock of `time.monotonic`; None: it never was.
    """
    code, reason = connection.closing or (CloseCode.INTERNAL_ERROR, "")
    facts = {"connection": connection.id, "user": connection.user, "code": int(code), "reason": reason}
    logger.info("socket closed", extra=facts)
    if events.observers and opened_at is not None:
        seconds, protocol = time.monotonic() - opened_at, _protocol(connection)
        events.notify(Closed(connection.id, connection.user, protocol, int(code), reason, seconds))


def _protocol(connection: Connection) -> str:
    return connection.wire.subprotocol or "plain"
