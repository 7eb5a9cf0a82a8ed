"""A message, offered to many subscriptions of a stream: written once for each protocol that their clients speak."""

from typing import Any

from pydantic_core import to_json

from qrsocket.message import NO_OPTIONS, ORDERS, Kind, Message
from qrsocket.server.connection import Connection
from qrsocket.server.subscription import Subscription
from qrsocket.server.wire import Event, Wire
from qrsocket.streams import Stream, topic_of

# A job's number of its last change is the time of that, in ms, or a little more.
RECENT_MS = 60_000


def offer(subscriptions: tuple[Subscription, ...], stream: Stream, offset: int | None, message: Message) -> None:
    """Offer a message to subscriptions that are live."""
    if message.kind in ORDERS:
        for subscription in subscriptions:
            if subscription.connection.is_meant(message):
                subscription.connection.obey(message)
        return
    events: dict[Wire, Event] = {}
    topic = topic_of(stream)
    for subscription in subscriptions:
        connection = subscription.connection
        if message.options is not NO_OPTIONS and not connection.is_meant(message):
            continue
        event = events.get(connection.wire)
        if event is None:
            event = events[connection.wire] = connection.wire.message(message, connection.shown(stream, offset), topic)
        connection.offer(event)


def offer_control(subscriptions: tuple[Subscription, ...], name: str, fields: dict[str, Any]) -> None:
    """Tell many connections the same about what they are subscribed to, as far as their protocols have words for it."""
    events: dict[Wire, Event | None] = {}
    for subscription in subscriptions:
        wire = subscription.connection.wire
        if wire not in events:
            events[wire] = wire.control(name, fields)
        if event := events[wire]:
            subscription.connection.offer(event)


def offer_jobs(connection: Connection, jobs: list[dict[str, Any]]) -> None:
    """
    Tell a client that knows no list of jobs, after some changes were missed, each job that may have changed: those that
    have not ended, and those whose last change is not much older than the newest.
    """
    newest = max((job["seq"] for job in jobs), default=0)
    for job in reversed(jobs):
        if "ended_at" not in job or job["seq"] > newest - RECENT_MS:
            event = connection.wire.message(Message(Kind.JOB, to_json({"job": job})), None, None)
            connection.offer_newest(job["id"], event)


def offer_uncounted(subscriptions: tuple[Subscription, ...], stream: Stream, message: Message, message_id: str) -> None:
    """
    Offer a message that is not kept. A client that is too slow for all that it is sent does not get it.

    Args:
        message_id: Of what is about a job, the job's id.
    """
    topic, latest = topic_of(stream), message_id if message.kind is Kind.PROGRESS else message.options.latest
    events: dict[Wire, Event] = {}
    for subscription in subscriptions:
        connection = subscription.connection
        if message.options is not NO_OPTIONS and not connection.is_meant(message):
            continue
        event = events.get(connection.wire)
        if event is None:
            event = events[connection.wire] = connection.wire.message(message, None, topic)
        if latest:
            connection.offer_newest(latest if message.kind is Kind.PROGRESS else f"{stream} {latest}", event)
        elif connection.has_room:
            connection.offer(event)
