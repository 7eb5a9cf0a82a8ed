"""Tells the log, and those who observe, what has become of a message."""

import time

from qrsocket import events
from qrsocket.context import current
from qrsocket.errors import Unavailable
from qrsocket.events import NotSent, Sent
from qrsocket.logger import Logger
from qrsocket.message import ORDERS, Delivery
from qrsocket.sender.sending import Sending
from qrsocket.streams import shown

logger = Logger(__name__)


def note_sent(described: Sending, delivery: Delivery, began_at: float) -> None:
    """
    Args:
        began_at: When its calls began, on the clock of `time.monotonic`.
    """
    if events.observers:
        kind, seconds = described.message.kind.name.lower(), time.monotonic() - began_at
        recipients, connections = len(described.named.streams), delivery.connections
        events.notify(Sent(delivery.message_id, kind, recipients, connections, delivery.repeated, seconds))
    if logger.is_detailed:
        word = _word_for(described)
        text = f"{word} not sent again: its id was sent before" if delivery.repeated else f"{word} sent"
        where = {"connections": delivery.connections, "nodes": delivery.nodes, "seconds": time.monotonic() - began_at}
        logger.debug(text, **_facts(described), **where)


def note_failure(described: Sending, error: Unavailable, began_at: float) -> None:
    seconds = time.monotonic() - began_at
    if events.observers:
        events.notify(NotSent(described.named.id, described.message.kind.name.lower(), error.cause, seconds))
    if logger.is_detailed:
        text = f"{_word_for(described)} perhaps not sent: Redis unavailable"
        logger.debug(text, **_facts(described), cause=error.cause, seconds=seconds)


def _word_for(described: Sending) -> str:
    return "order" if described.message.kind in ORDERS else "message"


def _facts(described: Sending) -> dict[str, object]:
    """Say which message it is, whom it is for, and for whom the code runs that sends it."""
    context, named, kind = current(), described.named, described.message.kind.name.lower()
    sender = {"user": context.user, "connection": context.connection}
    job = context.task_run.task_id if context.task_run else None
    return {"message_id": named.id, "kind": kind, "streams": shown(named.streams), "job": job, **sender}
