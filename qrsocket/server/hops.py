"""What becomes of an envelope on this node, for each connection that it is for: lines at DEBUG."""

from qrsocket import events
from qrsocket.events import Event, Offered
from qrsocket.fanout.publish import Envelope
from qrsocket.logger import Logger
from qrsocket.message import ORDERS, Kind
from qrsocket.sender.message_ids import told_id
from qrsocket.server.hub import Hub
from qrsocket.streams import shown

logger = Logger(__name__)

OF_JOBS = {Kind.JOB: "job state", Kind.PROGRESS: "job progress", Kind.CHUNK: "job text"}
FATES = {
    "written": "written",
    "waiting": "waits: its client reads slowly",
    "behind": "read from the stream: it came late, or something before it was missed",
    "dropped": "dropped: it is closing, or it reads too slowly, or has not begun, for what is not kept",
    "left_out": "left out: it is not for this connection",
}


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
    with events.observed(_Lines(hub, envelope, word, facts), messages=True):
        hub.deliver(envelope)


class _Lines:
    """An observer of one delivery."""

    def __init__(self, hub: Hub, envelope: Envelope, word: str, facts: dict[str, object]) -> None:
        self._hub, self._message_id, self._word, self._facts = hub, envelope.message_id, word, facts

    def on_event(self, event: Event) -> None:
        if not isinstance(event, Offered) or event.message_id != self._message_id:
            return
        for place, fate in FATES.items():
            is_given = self._word == "order" and place in ("written", "waiting")
            for connection in getattr(event, place):
                about = {**self._facts, **self._hub.facts_of(connection), "stream": event.stream}
                logger.debug("%s %s", self._word, "given" if is_given else fate, **about, offset=event.offset)
