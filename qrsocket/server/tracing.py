"""Tells its trace that a message was written to clients, once it is: none of them waits for that."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from qrsocket.fanout.publish import Envelope
from qrsocket.logger import Logger
from qrsocket.position import Missed
from qrsocket.sender.message_ids import told_id
from qrsocket.server.subscription import Subscription
from qrsocket.spans import Tracer
from qrsocket.streams import Stream

logger = Logger(__name__)


def note_delivered(
    tracer: Tracer, envelopes: Iterable[Envelope], count: Callable[[Stream], int], began_ns: int
) -> None:
    """
    Args:
        count: Tells how many connections of this node are subscribed to a stream.
        began_ns: When the envelopes came, in ns of Unix time.
    """
    with _harmless():
        for envelope in envelopes:
            streams = [stream for stream, _offset in envelope.recipients if count(stream)]
            if streams:
                id, connections = told_id(envelope.message_id), sum(map(count, streams))
                sent = envelope.message.options.trace
                tracer.delivered(sent, id, streams, connections=connections, began_ns=began_ns)


def note_recovered(tracer: Tracer, subscription: Subscription, page: Missed) -> None:
    """Tell of a page of what was sent before, all together: each message is linked to, and none has it as its child."""
    with _harmless():
        given = [entry.message for entry in page.entries if subscription.connection.is_meant(entry.message)]
        sent = [message.options.trace for message in given if message.options.traceparent]
        if sent:
            tracer.recovered(sent, subscription.stream, messages=len(given))


@contextmanager
def _harmless() -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("spans not made")
