"""Tells those who observe what has become of a message."""

import time

from qrsocket import events
from qrsocket.errors import Unavailable
from qrsocket.events import NotSent, Sent
from qrsocket.message import Delivery
from qrsocket.sender.sending import Sending


def note_sent(described: Sending, delivery: Delivery, began_at: float) -> None:
    """
    Args:
        began_at: When its calls began, on the clock of `time.monotonic`.
    """
    if events.observers:
        kind, seconds = described.message.kind.name.lower(), time.monotonic() - began_at
        recipients, connections = len(described.named.streams), delivery.connections
        events.notify(Sent(delivery.message_id, kind, recipients, connections, delivery.repeated, seconds))


def note_failure(described: Sending, error: Unavailable, began_at: float) -> None:
    if events.observers:
        kind, seconds = described.message.kind.name.lower(), time.monotonic() - began_at
        events.notify(NotSent(described.named.id, kind, error.cause, seconds))
