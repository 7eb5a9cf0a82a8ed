"""A message, offered to many subscriptions of a stream: written once for each protocol that their clients speak."""

from typing import Any

from pydantic_core import to_json

from qrsocket.message import NO_OPTIONS, Kind, Message
from qrsocket.server.connection import Connection
from qrsocket.server.subscription import Subscription
from qrsocket.server.wire import Wire
from qrsocket.streams import Stream, topic_of

# A job's number of its last change is the time of that, in ms, or a little more.
RECENT_MS = 60_000


def offer(subscriptions: tuple[Subscription, ...], stream: Stream, offset: int | None, message: Message) -> None:
    """Offer a message to subscriptions that are live."""
    frames: dict[Wire, bytes] = {}
    is_for_all = message.options is NO_OPTIONS or message.options.is_for_all
    for subscription in subscriptions:
        connection = subscription.connection
        if is_for_all or connection.is_meant(message):
            wire = connection.wire
            frame = frames.get(wire)
            if frame is None:
                frame = frames[wire] = wire.message(message, connection.shown(stream, offset), topic_of(stream))
            connection.offer(frame)


def give_order(subscriptions: tuple[Subscription, ...], order: Message) -> None:
    """Have those connections that are meant obey."""
    for subscription in subscriptions:
        if subscription.connection.is_meant(order):
            subscription.connection.obey(order)


def offer_control(subscriptions: tuple[Subscription, ...], name: str, fields: dict[str, Any]) -> None:
    """Tell many connections the same about what they are subscribed to, as far as their protocols have words for it."""
    frames: dict[Wire, bytes | None] = {}
    for subscription in subscriptions:
        wire = subscription.connection.wire
        if wire not in frames:
            frames[wire] = wire.control(name, fields)
        if frame := frames[wire]:
            subscription.connection.offer(frame)


def offer_jobs(connection: Connection, jobs: list[dict[str, Any]]) -> None:
    """
    Tell a client that knows no list of jobs, after some changes were missed, each job that may have changed: those that
    have not ended, and those whose last change is not much older than the newest.
    """
    newest = max((job["seq"] for job in jobs), default=0)
    for job in reversed(jobs):
        if "ended_at" not in job or job["seq"] > newest - RECENT_MS:
            frame = connection.wire.message(Message(Kind.JOB, to_json({"job": job})), None, None)
            connection.offer_newest(job["id"], frame)


def offer_uncounted(subscriptions: tuple[Subscription, ...], stream: Stream, message: Message, message_id: str) -> None:
    """
    Offer a message that is not kept. A client that is too slow for all that it is sent does not get it.

    Args:
        message_id: Of what is about a job, the job's id.
    """
    topic, latest = topic_of(stream), message_id if message.kind is Kind.PROGRESS else message.options.latest
    is_for_all = message.options is NO_OPTIONS or message.options.is_for_all
    frames: dict[Wire, bytes] = {}
    for subscription in subscriptions:
        connection = subscription.connection
        if not is_for_all and not connection.is_meant(message):
            continue
        frame = frames.get(connection.wire)
        if frame is None:
            frame = frames[connection.wire] = connection.wire.message(message, None, topic)
        if latest:
            connection.offer_newest(latest if message.kind is Kind.PROGRESS else f"{stream} {latest}", frame)
        elif connection.has_room:
            connection.offer(frame)
