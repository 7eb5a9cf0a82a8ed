"""Tells the log, and those who observe, of connections, and of what becomes of messages for them."""

import logging
import time

from qrsocket import events
from qrsocket.errors import CloseCode
from qrsocket.events import Closed, Connected, Offered
from qrsocket.fanout.publish import Envelope
from qrsocket.message import Message
from qrsocket.server.connection import Connection
from qrsocket.server.subscription import Feed
from qrsocket.streams import Stream

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


def note_offered(feed: Feed, stream: Stream, offset: int | None, envelope: Envelope) -> None:
    """Tell those who observe each message what is about to become of this one."""
    message, is_next = envelope.message, (feed.epoch, feed.offset + 1) == (envelope.epoch, offset)
    places: dict[str, list[str]] = {"written": [], "waiting": [], "dropped": [], "behind": [], "left_out": []}
    for subscription in feed.begun:
        connection = subscription.connection
        is_live = connection.id in feed.live and is_next
        places[_place(connection, message, is_live=is_live, is_kept=offset is not None)].append(connection.id)
    ids = {place: tuple(connections) for place, connections in places.items()}
    events.notify(Offered(envelope.message_id, message.kind.name.lower(), stream, offset, **ids))


def _place(connection: Connection, message: Message, *, is_live: bool, is_kept: bool) -> str:
    if not connection.is_meant(message):
        return "left_out"
    if connection.closing is not None or not (is_kept or connection.has_room):
        return "dropped"
    if is_kept and not is_live:
        return "behind"
    return "written" if connection.is_writable else "waiting"


def _protocol(connection: Connection) -> str:
    return connection.wire.subprotocol or "plain"
