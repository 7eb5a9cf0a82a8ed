"""From this node's channel to its sockets. Never waits for a client, never parses a message."""

import time
from collections.abc import Callable

from qrsocket import events, spans
from qrsocket.events import Missed
from qrsocket.fanout.publish import Envelope
from qrsocket.fanout.subscriber import Subscriber
from qrsocket.logger import Logger
from qrsocket.message import Kind
from qrsocket.server.hops import deliver
from qrsocket.server.hub import Hub
from qrsocket.server.outbox import Outbox
from qrsocket.server.readings import Readings
from qrsocket.server.tracing import note_delivered
from qrsocket.signing import Ring

logger = Logger(__name__)

PROBE, HEARTBEAT = Kind.PROBE, Kind.HEARTBEAT


class Relay:
    """Delivers what is published to this node, and notices when something is missing."""

    def __init__(
        self,
        node: str,
        hub: Hub,
        outbox: Outbox,
        ring: Ring | None,
        on_probe: Callable[[str], None],
        on_heartbeat: Callable[[bytes], None],
        on_doubt: Callable[[], None],
    ) -> None:
        """
        Args:
            outbox: Of the hub's connections.
            ring: What messages must be signed by.
            on_probe: Gets the id of a probe of `qrsocket doctor`; must not block.
            on_heartbeat: Gets the channel on which the node's own heartbeat came; must not block.
            on_doubt: Called when an envelope may have been lost; must not block.
        """
        self._node, self._hub, self._outbox, self._ring = node, hub, outbox, ring
        self._on_probe, self._on_heartbeat, self._on_doubt = on_probe, on_heartbeat, on_doubt
        self._traced: list[Envelope] = []  # of this read, to be told of when they are written
        self._readings = Readings()
        self._next: dict[bytes, int] = {}  # number of the next envelope, by channel; none since it was opened

    async def run(self, subscriber: Subscriber) -> None:
        """Deliver without end."""
        await subscriber.run(self._on_read, self._on_open)

    def _on_open(self) -> None:
        self._next.clear()
        self._on_doubt()  # what was published while it was not open did not come

    def _on_read(self, envelopes: list[tuple[bytes, bytes]]) -> None:
        began_at = self._readings.begin() if events.observers else None
        tracer, began_ns = spans.tracer, time.time_ns()
        self._outbox.hold()
        try:
            for channel, data in envelopes:
                self._on_envelope(channel, data)
        finally:
            self._outbox.flush()
        if events.observers:
            self._readings.end(len(envelopes), began_at)
        if tracer is not None and self._traced:
            traced, self._traced = self._traced, []
            note_delivered(tracer, traced, self._hub.count, began_ns)

    def _on_envelope(self, channel: bytes, data: bytes) -> None:
        # One envelope that we cannot read, from a newer version say, must not make every socket deaf.
        try:
            envelope = Envelope.parse(data, self._ring)
        except Exception as error:  # its text may quote what was sent
            facts = {"node": self._node, "error": type(error).__name__, "size_bytes": len(data)}
            logger.error("message from Redis dropped: it cannot be read", **facts)
            return
        try:
            self._take(channel, envelope)
        except Exception:
            facts = {"node": self._node, "size_bytes": len(data)}
            logger.exception("message from Redis dropped: it cannot be delivered", **facts)

    def _take(self, channel: bytes, envelope: Envelope) -> None:
        kind = envelope.message.kind
        if kind is PROBE:
            self._on_probe(envelope.message_id)
            return
        if kind is HEARTBEAT:
            self._on_heartbeat(channel)
        expected = self._next.get(channel)
        self._next[channel] = envelope.number + 1
        # A heartbeat has the number of the last envelope.
        if expected is not None and envelope.number + (kind is HEARTBEAT) != expected:
            text = "messages lost between Redis and this node: they are read again"
            logger.warning(text, node=self._node, expected=expected, got=envelope.number)
            self._on_doubt()
            if events.observers:
                events.notify(Missed(expected, envelope.number))
        if logger.is_detailed and kind is not HEARTBEAT:
            deliver(self._hub, envelope, self._node)
        else:
            self._hub.deliver(envelope)
        if spans.tracer is not None and envelope.message.options.traceparent:
            self._traced.append(envelope)
