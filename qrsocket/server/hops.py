"""What becomes of an envelope on this node, for each connection that it is for: lines at DEBUG."""

from collections.abc import Iterator
from typing import NamedTuple

from qrsocket.fanout.publish import Envelope
from qrsocket.logger import Logger
from qrsocket.message import ORDERS, Kind
from qrsocket.position import Position
from qrsocket.sender.message_ids import told_id
from qrsocket.server.hub import Hub
from qrsocket.server.subscription import Subscription
from qrsocket.streams import shown

logger = Logger(__name__)

IS_READ = "waits: it is read from the stream, after what came before it"
OF_JOBS = {Kind.JOB: "job state", Kind.PROGRESS: "job progress", Kind.CHUNK: "job text"}


class Part(NamedTuple):
    """One subscription that a message is for, as it was before the message came."""

    subscription: Subscription
    offset: int | None
    heard: Position | None
    is_live: bool
    is_closing: bool
    has_room: bool
    is_writable: bool


def deliver(hub: Hub, envelope: Envelope, node: str) -> None:
    """Have *hub* deliver the envelope, and tell what becomes of it."""
    kind = envelope.message.kind
    streams = shown([stream for stream, _ in envelope.recipients])
    if kind in OF_JOBS or kind is Kind.MEMBERS:
        word, job = (OF_JOBS[kind], envelope.message_id) if kind in OF_JOBS else ("members", None)
        logger.debug("%s came to this node", word, job=job, node=node, streams=streams)
        hub.deliver(envelope)
        return
    word = "order" if kind in ORDERS else "message"
    facts: dict[str, object] = {"message_id": told_id(envelope.message_id), "node": node}
    logger.debug("%s came to this node", word, **facts, streams=streams, number=envelope.number)
    parts = tuple(_parts(hub, envelope))
    hub.deliver(envelope)
    for part in parts:
        one = part.subscription
        about = {**facts, **one.connection.facts, "stream": one.stream, "offset": part.offset}
        logger.debug("%s %s", word, _fate(part, hub, envelope), **about)


def _parts(hub: Hub, envelope: Envelope) -> Iterator[Part]:
    for stream, offset in envelope.recipients:
        for one in hub.subscribed(stream):
            connection = one.connection
            now = (hub.heard_of(stream), hub.is_live(one), connection.closing is not None)
            yield Part(one, offset, *now, connection.has_room, connection.is_writable)


def _fate(part: Part, hub: Hub, envelope: Envelope) -> str:
    one, message, heard = part.subscription, envelope.message, part.heard
    if not one.connection.is_meant(message):
        return "left out: it is not for this connection"
    if part.is_closing:
        return "dropped: the connection is closing"
    if part.offset is None:
        if not part.is_live and one.position is None:
            return "dropped: the connection has not begun, and the message is not kept"
        if not part.has_room and not message.options.latest:
            return "dropped: its client reads slowly, and it is not kept"
    elif heard is not None and heard.epoch == envelope.epoch and part.offset <= heard.offset:
        return "not written again: it was read from the stream" if part.is_live else IS_READ
    if message.kind in ORDERS:
        return "given"
    if one.connection.closing is not None:
        return "dropped: its client is too slow, and closed"
    if part.offset is not None and not hub.is_live(one):
        return IS_READ
    return "written" if part.is_writable else "waits: its client reads slowly"
