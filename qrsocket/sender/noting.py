"""Tells the log, those who observe, and its trace, what becomes of a message."""

import time
from collections.abc import Iterator
from types import TracebackType

from qrsocket import events, spans
from qrsocket.context import current
from qrsocket.errors import Unavailable
from qrsocket.events import NotSent, Sent
from qrsocket.fanout.publish import Routed
from qrsocket.logger import Logger
from qrsocket.message import ORDERS, Delivery
from qrsocket.roundtrip import Call
from qrsocket.sender.sending import Sending
from qrsocket.streams import shown

logger = Logger(__name__)


class Noted:
    """A message while it is sent: `with Noted(described) as noted: return noted.delivery(ask(noted.calls()))`."""

    __slots__ = ("_began_at", "_described", "_span")

    def __init__(self, described: Sending) -> None:
        self._described, self._began_at = described, time.monotonic()
        tracer, named = spans.tracer, described.named
        self._span = None if tracer is None else tracer.sending(named.id, self._kind, named.streams)

    def __enter__(self) -> "Noted":
        if self._span is not None:
            self._span.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._span is not None:
            self._span.__exit__(kind, error, traceback)
        if isinstance(error, Unavailable):
            seconds = time.monotonic() - self._began_at
            if events.observers:
                events.notify(NotSent(self._described.named.id, self._kind, error.cause, seconds))
            if logger.is_detailed:
                text = f"{self._word} perhaps not sent: Redis unavailable"
                logger.debug(text, **_facts(self._described), cause=error.cause, seconds=seconds)

    @property
    def _kind(self) -> str:
        return self._described.message.kind.name.lower()

    @property
    def _word(self) -> str:
        return "order" if self._described.message.kind in ORDERS else "message"

    def calls(self) -> Iterator[Call[Routed]]:
        """Return the calls that send it, as a part of its trace."""
        return (self._described if self._span is None else self._described.within(self._span.context)).calls()

    def delivery(self, routed: list[Routed]) -> Delivery:
        """Return what has become of it, as the answers say."""
        delivery, seconds = self._described.delivery(routed), time.monotonic() - self._began_at
        if self._span is not None:
            self._span.note(connections=delivery.connections, nodes=delivery.nodes, repeated=delivery.repeated)
        if events.observers:
            recipients, connections = len(self._described.named.streams), delivery.connections
            events.notify(Sent(delivery.message_id, self._kind, recipients, connections, delivery.repeated, seconds))
        if logger.is_detailed:
            word = self._word
            text = f"{word} not sent again: its id was sent before" if delivery.repeated else f"{word} sent"
            where = {"connections": delivery.connections, "nodes": delivery.nodes, "seconds": seconds}
            logger.debug(text, **_facts(self._described), **where)
        return delivery


def _facts(described: Sending) -> dict[str, object]:
    """Say which message it is, whom it is for, and for whom the code runs that sends it."""
    context, named, kind = current(), described.named, described.message.kind.name.lower()
    sender = {"user": context.user, "connection": context.connection}
    job = context.task_run.task_id if context.task_run else None
    return {"message_id": named.id, "kind": kind, "streams": shown(named.streams), "job": job, **sender}
