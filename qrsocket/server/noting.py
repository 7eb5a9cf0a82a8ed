"""Tells the log, and those who observe, of connections, and of what becomes of messages for them."""

import time
from collections.abc import Mapping, Sequence

from qrsocket import events
from qrsocket.errors import CloseCode
from qrsocket.events import Behind, Closed, Connected, MessageRefused, Offered, Recovered
from qrsocket.fanout.publish import Envelope
from qrsocket.logger import Logger
from qrsocket.message import Message
from qrsocket.position import Entry, Position
from qrsocket.server.connection import Connection
from qrsocket.server.subscription import Feed, Subscription
from qrsocket.streams import Stream

logger = Logger(__name__)

# With these a node ends what a user, or an operator, may wonder about. What else ends is the usual.
REFUSALS = frozenset(
    (
        CloseCode.POLICY,
        CloseCode.TOO_BIG,
        CloseCode.INTERNAL_ERROR,
        CloseCode.OVERLOADED,
        CloseCode.SLOW_CONSUMER,
        CloseCode.POSITION_LOST,
        CloseCode.NOT_AUTHENTICATED,
        CloseCode.REVOKED,
        CloseCode.TOO_MANY_CONNECTIONS,
        CloseCode.ABUSE,
    )
)


def note_opened(connection: Connection) -> None:
    logger.debug("connection opened", **connection.facts, protocol=_protocol(connection))
    if events.observers:
        events.notify(Connected(connection.id, connection.user, _protocol(connection)))


def note_closed(
    connection: Connection, opened_at: float | None, refusal: Mapping[str, object], *, by_client: bool
) -> None:
    """
    Args:
        opened_at: On the clock of `time.monotonic`; None: it never was.
        refusal: What has refused its user, if something has.
        by_client: With a code and a reason of its own. The reason is its words, and not in the log.
    """
    code, reason = connection.closing or (CloseCode.INTERNAL_ERROR, "")
    seconds = None if opened_at is None else time.monotonic() - opened_at
    if by_client:
        logger.debug("connection closed by its client", **connection.facts, code=int(code), seconds=seconds)
    else:
        facts = {**connection.facts, "code": int(code), "reason": reason, **refusal, "seconds": seconds}
        (logger.warning if code in REFUSALS else logger.debug)("connection closed", **facts)
    if events.observers and seconds is not None:
        protocol = _protocol(connection)
        events.notify(Closed(connection.id, connection.user, protocol, int(code), reason, by_client, seconds))


def note_message_refused(connection: Connection, cause: str, why: str) -> None:
    logger.debug("message refused: %s", why, **connection.facts)
    if events.observers:
        events.notify(MessageRefused(connection.id, connection.user, cause))


def note_offered(feed: Feed, stream: Stream, offset: int | None, envelope: Envelope) -> None:
    """Tell those who observe each message what is about to become of this one."""
    message, is_next = envelope.message, (feed.epoch, feed.offset + 1) == (envelope.epoch, offset)
    places: dict[str, list[str]] = {"written": [], "waiting": [], "dropped": [], "behind": [], "left_out": []}
    for subscription in (*feed.live.values(), *feed.behind.values()):
        id, is_kept = subscription.connection.id, offset is not None
        places[_place(subscription, message, is_live=id in feed.live and is_next, is_kept=is_kept)].append(id)
    ids = {place: tuple(connections) for place, connections in places.items()}
    events.notify(Offered(envelope.message_id, message.kind.name.lower(), stream, offset, **ids))


def note_behind(fallen: Mapping[str, Subscription], position: Position) -> None:
    """
    Args:
        fallen: The subscriptions of one stream that have not had a message at *position*, by their connections' ids.
    """
    stream = next(iter(fallen.values())).stream
    logger.debug("behind: messages were missed", stream=stream, offset=position.offset, connections=len(fallen))
    if events.observers:
        events.notify(Behind(stream, tuple(fallen)))


def note_recovered(subscription: Subscription, entries: Sequence[Entry], *, is_level: bool) -> None:
    """
    Args:
        entries: What was missed, and is told now.
        is_level: That is all.
    """
    connection, stream = subscription.connection, subscription.stream
    first, last = entries[0].offset, entries[-1].offset
    facts = {"stream": stream, "offset": last, "messages": len(entries)}
    logger.debug("messages read from the stream", **connection.facts, **facts)
    if events.observers:
        events.notify(Recovered(connection.id, connection.user, stream, len(entries), first, last, is_level))


def _place(subscription: Subscription, message: Message, *, is_live: bool, is_kept: bool) -> str:
    connection, has_begun = subscription.connection, subscription.position is not None
    if not connection.is_meant(message):
        return "left_out"
    is_taken = is_kept or (has_begun and (connection.has_room or message.options.latest))
    if connection.closing is not None or not is_taken:
        return "dropped"
    if is_kept and not is_live:
        return "behind"
    return "written" if connection.is_writable else "waiting"


def _protocol(connection: Connection) -> str:
    return connection.wire.subprotocol or "plain"
