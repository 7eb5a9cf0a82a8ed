"""What the verbs ask of Redis, whether they are awaited or block: whom, what, and the calls."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from qrsocket.context import current, current_connection, current_settings, current_stream
from qrsocket.errors import CloseCode, NoRecipient
from qrsocket.fanout.publish import NOTHING, RECIPIENTS_PER_CALL, Keep, Routed, publish
from qrsocket.keys import Keys, Keyspace
from qrsocket.message import Close, Delivery, Kind, Message, Options, encode
from qrsocket.presence import table
from qrsocket.presence.revocation import revoke
from qrsocket.roundtrip import Call
from qrsocket.sender.ask import checked
from qrsocket.sender.message_ids import Named, name
from qrsocket.settings import Settings
from qrsocket.spans import TraceContext
from qrsocket.streams import Stream, of_connection, of_topic, of_user, user_of
from qrsocket.topics import topic_name
from qrsocket.trail import trail_of
from qrsocket.users import UserLike, user_ids

# Whoever revokes by default keeps out tokens that live no longer than a day.
REVOKED_SECONDS = 24 * 3600.0
MAX_REVOKED = 10 * 366 * 24 * 3600.0
LATEST = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,100}")


class Configured:
    """What speaks to Redis by settings that it was given, or else by those of the code that runs."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._given = settings

    @property
    def _settings(self) -> Settings:
        return self._given or current_settings()


class How(NamedTuple):
    """How a message is to be sent, as the verbs take it."""

    message_id: str | None = None
    wait: float | None = None
    keep: bool = True
    latest: str | None = None


class Sending(NamedTuple):
    """A message on its way: its streams have been named, and it goes when the calls are made."""

    settings: Settings
    message: Message
    named: Named
    keep: Keep
    wait: float | None

    def calls(self) -> Iterator[Call[Routed]]:
        trail = trail_of(self.named.id, self.settings.trail_seconds)
        for keys, batch, number in _batches(self.settings, self.named.streams):
            id = f"{self.named.wire_id}.{number}" if number else self.named.wire_id
            yield publish(
                keys,
                self.message,
                id,
                batch,
                remember=self.named.remember,
                keep=self.keep,
                ring=self.settings.ring,
                trail=trail,
            )

    def within(self, trace: TraceContext) -> "Sending":
        """Return it as a part of *trace*, if that has a span. Its id stays: this does not change what is said."""
        if not trace.traceparent:
            return self
        options = self.message.options._replace(**trace._asdict())
        return self._replace(message=Message(self.message.kind, self.message.payload, options))

    def delivery(self, routed: list[Routed]) -> Delivery:
        nodes = frozenset[str]().union(*(part.nodes for part in routed))
        repeated = all(part.repeated for part in routed)
        return Delivery(self.named.id, sum(part.connections for part in routed), len(nodes), repeated)


def message_for(
    settings: Settings,
    streams: Sequence[Stream],
    message: object,
    how: How,
    *,
    but: str | None = None,
    user: str | None = None,
) -> Sending:
    """
    Describe the sending of what an application wants to tell.

    Args:
        but: Id of a connection of *user* that does not get it.
        user: Otherwise, whose connection it must be to get it.

    Raises:
        ValueError: *how* is no way to send.
    """
    if how.latest is not None and not LATEST.fullmatch(how.latest):
        raise ValueError('latest is a name of 1 to 100 characters, none of them control, such as f"cursor:{user.id}"')
    is_kept = how.keep and how.latest is None
    encoded = encode(message, limit_bytes=settings.max_message_out_bytes, max_depth=settings.max_json_depth)
    options = Options(how.latest or "", but or "", user or "")
    if any(options):
        encoded = Message(encoded.kind, encoded.payload, options)
    return _sending(settings, encoded, streams, how.message_id, how.wait, is_kept=is_kept)


def order_for(settings: Settings, streams: Sequence[Stream], order: Message) -> Sending:
    """Describe an order for the connections that are open now. It is kept, for nodes that do not hear it."""
    return _sending(settings, order, streams, None, None, is_kept=True)


def order_here(settings: Settings, order: Message) -> Sending:
    """
    Describe an order for the current connection. An HTTP request only claims to be of one: it must be the user's.

    Raises:
        NoConnection: There is no current connection.
    """
    for_user = Message(order.kind, order.payload, Options(user=current().user or ""))
    return order_for(settings, [of_connection(current_connection())], for_user)


def reply_to(settings: Settings, message: object) -> Sending:
    """
    Raises:
        NoConnection: There is no current connection.
    """
    return message_for(settings, [of_connection(current_connection())], message, How(keep=False), user=current().user)


def to_others(settings: Settings, message: object, how: How, streams: Sequence[Stream] | None = None) -> Sending:
    """
    Describe the sending to others than the current connection.

    Args:
        streams: Of a topic; otherwise of the current user.

    Raises:
        NoRecipient: There is no current user to have other connections.
    """
    context = current()
    if streams is None:
        if context.user is None:
            raise NoRecipient
        streams = [of_user(context.user)]
    if context.connection is None:
        return message_for(settings, streams, message, how)
    return message_for(settings, streams, message, how, but=context.connection, user=context.user)


def close_here(settings: Settings, code: int, reason: str) -> Sending:
    """Describe the close of the current connection; where there is none, of all connections of the current user."""
    order = Close(code, reason).to_message()
    if current().connection is None:
        return order_for(settings, [current_stream()], order)
    return order_here(settings, order)


def close_all(
    settings: Settings, streams: Sequence[Stream], code: int = CloseCode.REVOKED, reason: str = ""
) -> Sending:
    return order_for(settings, streams, Close(code, reason).to_message())


def revocation_calls(settings: Settings, streams: Sequence[Stream], for_seconds: float) -> list[Call[None]]:
    """
    Describe that nothing which was issued for users until now counts.

    Raises:
        ValueError: *for_seconds* is no time.
    """
    if not 0 < for_seconds <= MAX_REVOKED:
        raise ValueError(f"for_seconds is seconds, more than 0 and at most {MAX_REVOKED:.0f}")
    calls = _batches(settings, streams)
    return [revoke(keys, batch, seconds=for_seconds) for keys, batch, _ in calls]


def join_order(topic: str) -> Message:
    return Message(Kind.JOIN, topic_name(topic).encode())


def leave_order(topic: str) -> Message:
    return Message(Kind.LEAVE, topic_name(topic).encode())


def streams_of(users: UserLike | Iterable[UserLike]) -> tuple[Stream, ...]:
    ids = user_ids(users)
    if not ids:
        raise NoRecipient
    return tuple(map(of_user, ids))


def online_calls(settings: Settings, users: Iterable[UserLike] | None) -> Iterator[Call[set[Stream]]]:
    if users is None:
        yield from (table.everyone(keys) for keys in Keyspace.of(settings).shards)
        return
    for keys, batch, _ in _batches(settings, map(of_user, user_ids(users))):
        yield table.online_of(keys, batch)


def members_call(settings: Settings, topic: str) -> Call[set[str]]:
    keys = Keyspace.of(settings).of_stream(of_topic(topic))
    return Call(("SMEMBERS", keys.members(topic)), lambda reply: {user.decode() for user in reply})


def count_call(settings: Settings, topic: str) -> Call[int]:
    stream = of_topic(topic)
    return table.count_of(Keyspace.of(settings).of_stream(stream), stream)


def ids_in(answers: Iterable[set[Stream]]) -> set[str]:
    return {id for answer in answers for stream in answer if (id := user_of(stream)) is not None}


def _sending(
    settings: Settings,
    message: Message,
    streams: Sequence[Stream],
    message_id: str | None,
    wait: float | None,
    *,
    is_kept: bool,
) -> Sending:
    named = name(message, streams, message_id, current().task_run)
    keep = Keep(settings.recovery_messages, settings.recovery_seconds) if is_kept else NOTHING
    return Sending(settings, message, named, keep, checked(wait))


def _batches(settings: Settings, streams: Iterable[Stream]) -> Iterator[tuple[Keys, list[Stream], int]]:
    number = 0
    for keys, group in Keyspace.of(settings).group(streams).items():
        for start in range(0, len(group), RECIPIENTS_PER_CALL):
            yield keys, group[start : start + RECIPIENTS_PER_CALL], number
            number += 1
