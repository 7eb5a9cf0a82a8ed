"""
What happens, for those who count it, trace it or log it. (Over 250 lines: one class for each event.)

    class Counter:
        def on_event(self, event: Event) -> None:
            if isinstance(event, Sent):
                ...

    observe(Counter())

An observer is called where it happens, on an event loop or in a thread, and must not block. What it raises is logged,
and harms nobody else. Where nobody observes, no event is made.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from qrsocket.logger import Logger

logger = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """
    A message was sent, or an order: `socket.send`, `close`, `join` and `leave`.

    Attributes:
        message_id: As `Delivery` has it.
        kind: "json", "text", "binary", "close", "join" or "leave".
        recipients: How many streams it was sent to.
        connections: To which it was routed.
        repeated: It was sent before under the same id, and nobody gets it again.
        seconds: Until Redis had it.
    """

    message_id: str
    kind: str
    recipients: int
    connections: int
    repeated: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class NotSent:
    """
    Redis did not take a message in time: it may or may not have been sent.

    Attributes:
        cause: Of `Unavailable`.
    """

    message_id: str
    kind: str
    cause: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Relayed:
    """
    This node has read messages and orders from Redis some times, and handed them to its connections. Told of many
    readings together, since each takes some µs only.

    Attributes:
        seconds: For one reading in eight, until what it brought was written, or waits for a client that does not read
            fast enough.
    """

    envelopes: int
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Offered:
    """
    A message that came from Redis was offered to the connections of this node that are subscribed to *stream*. Only for
    observers that have asked for it: see `observe`.

    Attributes:
        message_id: As Redis knows it. It holds the one that `Delivery` has.
        offset: Of the message in *stream*; None if it is not kept.
        written: Connections to which it is written.
        waiting: Those for which it waits, since their clients do not read fast enough.
        dropped: Those that do not get it: they are closing, or it is not kept and they are too slow or have not begun.
        behind: Those that read it from Redis, after what they have missed.
        left_out: Those that it is not meant for: `socket.others`.
    """

    message_id: str
    kind: str
    stream: str
    offset: int | None
    written: tuple[str, ...]
    waiting: tuple[str, ...]
    dropped: tuple[str, ...]
    behind: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Connected:
    """
    A WebSocket was opened.

    Attributes:
        protocol: "plain" or "qrsocket.v1".
    """

    connection: str
    user: str | None
    protocol: str


@dataclass(frozen=True, slots=True)
class Closed:
    """
    A connection has ended.

    Attributes:
        by_client: With a code and a reason of its own.
        seconds: For which it was open.
    """

    connection: str
    user: str | None
    protocol: str
    code: int
    reason: str
    by_client: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """
    A handshake was refused, before there was a connection; or a request, before its head was read.

    Attributes:
        status: Of the HTTP response.
        cause: The class of what refused it, "InvalidToken" say; of a request the phrase, "Request Timeout" say.
    """

    status: int
    cause: str


@dataclass(frozen=True, slots=True)
class MessageRefused:
    """
    A message of a client was not handled, and the client was told so.

    Attributes:
        cause: "rate": it sends more than the rate allows; "crowded": too many wait for handlers.
    """

    connection: str
    user: str | None
    cause: str


@dataclass(frozen=True, slots=True)
class Handled:
    """
    A handler of messages has ended.

    Attributes:
        error: The class of what it raised; None if all went well.
    """

    handler: str
    connection: str
    user: str | None
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class HookRan:
    """
    `on_online` or `on_offline` has ended.

    Attributes:
        kind: "online" or "offline".
        attempt: 2 and more if another node may have run it.
    """

    hook: str
    kind: str
    user: str
    event_id: str
    attempt: int
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Missed:
    """
    Envelopes did not come to this node: it compares its streams, and reads what is missing.

    Attributes:
        expected, got: The number of the next envelope, and of the one that came.
    """

    expected: int
    got: int


@dataclass(frozen=True, slots=True)
class Behind:
    """
    Connections of this node have not had a message of *stream* that is in Redis: each reads from there what it missed.
    """

    stream: str
    connections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recovered:
    """
    A connection was given messages that it had missed, as Redis had kept them.

    Attributes:
        first, last: The offsets of the first and the last of them.
        is_level: That was all.
    """

    connection: str
    user: str | None
    stream: str
    messages: int
    first: int
    last: int
    is_level: bool


@dataclass(frozen=True, slots=True)
class GapTold:
    """A client was told that messages are gone which it has not had. `stream`: as docs/design.md names them."""

    connection: str
    user: str | None
    stream: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """
    What Redis publishes reaches this node: with each renewal of its lease it has Redis publish a heartbeat to it.

    Attributes:
        seconds: From the request to the heartbeat's arrival.
    """

    node: str
    seconds: float


@dataclass(frozen=True, slots=True)
class LeaseRenewed:
    """
    This node has renewed its lease.

    Attributes:
        seconds: That it took, with what is done at the same time: looking after what dead nodes have left.
    """

    node: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Counted:
    """
    What this node has, each time that it is about to renew its lease.

    Attributes:
        users, topics: Those with a connection here, and those joined by one.
        waiting_messages, waiting_bytes: For clients that do not read as fast as they are sent to.
        behind: Connections that read from histories what they have missed.
    """

    users: int
    topics: int
    waiting_messages: int
    waiting_bytes: int
    behind: int


@dataclass(frozen=True, slots=True)
class CircuitChanged:
    """
    Redis has failed a send, and so the next ones fail at once (open); or it answers again.
    """

    is_open: bool


@dataclass(frozen=True, slots=True)
class RedisAsked:
    """
    A round trip to Redis has ended, repetitions included.

    Attributes:
        call: The name of a script, "fanout/publish" say, or a command, "INFO" say.
        error: The class of what it raised; None if Redis has answered.
    """

    call: str
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class JobChanged:
    """
    A job that is watched has entered a state, as Redis has taken it. Told in the process that has reported it: who has
    queued it, or the worker; that a job is lost, in the one that has found out.

    Attributes:
        state: As docs/jobs.md lists them.
        seconds: Of "started", for which it has waited; of an end, for which it has run. None if that is not known.
    """

    job: str
    task: str
    user: str | None
    state: str
    attempt: int
    seconds: float | None


Event: TypeAlias = (
    Sent
    | NotSent
    | Relayed
    | Offered
    | Connected
    | Closed
    | Refused
    | MessageRefused
    | Handled
    | HookRan
    | Missed
    | Behind
    | Recovered
    | GapTold
    | Heartbeat
    | LeaseRenewed
    | Counted
    | CircuitChanged
    | RedisAsked
    | JobChanged
)


class Observer(Protocol):
    def on_event(self, event: Event) -> None:
        """Take note of *event*. Must not block."""
        ...


observers: tuple[Observer, ...] = ()
# Of those, who wants to know of each message.
message_observers: tuple[Observer, ...] = ()


def observe(observer: Observer, *, messages: bool = False) -> None:
    """
    Have *observer* told of what happens in this process, from now on. To add it twice changes nothing.

    Args:
        messages: Tell it also what becomes of each message that comes to this node (`Offered`): that costs some µs for
            each, and more for each connection.
    """
    global observers, message_observers
    if not any(one is observer for one in observers):
        observers = (*observers, observer)
    if messages and not any(one is observer for one in message_observers):
        message_observers = (*message_observers, observer)


def stop_observing(observer: Observer) -> None:
    """Tell *observer* nothing more. One that is not told already is no error."""
    global observers, message_observers
    observers = tuple(one for one in observers if one is not observer)
    message_observers = tuple(one for one in message_observers if one is not observer)


@contextmanager
def observed(observer: Observer, *, messages: bool = False) -> Iterator[None]:
    """Have *observer* told until the block ends: for tests."""
    observe(observer, messages=messages)
    try:
        yield
    finally:
        stop_observing(observer)


def notify(event: Event) -> None:
    """
    Tell all observers. Callers look whether there is one first, so that nothing is made for nobody:

        if events.observers:
            events.notify(Missed(expected, got))
    """
    for observer in message_observers if type(event) is Offered else observers:
        try:
            observer.on_event(event)
        except Exception:
            logger.exception("observer failed: %s at %s", type(observer).__name__, type(event).__name__)
