"""What nodes tell Redis of their connections, and what Redis answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from qrsocket.position import Missed, Position, parse_missed
from qrsocket.signing import Ring
from qrsocket.streams import Stream, user_of


@dataclass(frozen=True, slots=True)
class Transition:
    """
    A user came online or went offline, in the whole cluster. The node that gets it is to tell it.

    Attributes:
        seq: Grows by one with each transition of the user.
        attempt: 2 and more if it was another node's to tell, which was killed or cut off before it said it was done.
    """

    stream: Stream
    seq: int
    online: bool
    attempt: int = 1

    @property
    def id(self) -> str:
        """The same in each attempt, and of no other transition."""
        return f"{user_of(self.stream)}:{self.seq}"

    @property
    def kind(self) -> str:
        return kind_of(self.online)


class Known(NamedTuple):
    """
    What a node knows of a user's transitions, in case Redis forgets it.

    Attributes:
        seq, online: Number and kind of the last one; 0 if none is known.
        told, told_online: Of the last one that was told, by this node or as Redis said.
    """

    seq: int = 0
    online: bool = False
    told: int = 0
    told_online: bool = False


UNKNOWN = Known()


class Count(NamedTuple):
    """
    How many subscriptions of a stream a node has.

    Attributes:
        here: That number.
        most: On all nodes together; 0 for any number. A count that falls is never refused.
        known: The transitions of a user, as the node knows them.
        issued: When the proof of a user who comes was issued (Unix time, 0 if that is not known); None if nobody comes.
    """

    stream: Stream
    here: int
    most: int = 0
    known: Known = UNKNOWN
    issued: float | None = None


@dataclass(frozen=True, slots=True)
class Attached:
    """
    A stream, as Redis has it now.

    Attributes:
        top: Position of the newest message.
        jobs_top: Position of the newest change in the jobs of whose stream it is.
        known: The transitions of the user whose stream it is.
        transition: To be told by this node.
        revoked_at: When the user was revoked (Unix time); 0 if that was never, or is long over.
    """

    top: Position
    jobs_top: Position
    known: Known = UNKNOWN
    transition: Transition | None = None
    revoked_at: float = 0.0


class Answer(NamedTuple):
    """
    Attributes:
        attached: For each stream what it is now; None if it was refused, and nothing has changed.
        pages: For each position what came after it.
        revoked: The streams that were refused since their users were revoked, and when (Unix time); the others had too
            many subscriptions.
    """

    attached: list[Attached | None]
    pages: list[Missed]
    revoked: Mapping[Stream, float] = MappingProxyType({})


class Members(NamedTuple):
    """
    Who has joined a topic.

    Attributes:
        version: Counts the changes.
        is_certain: False shortly after Redis was restarted: not all nodes may have said yet who is there.
    """

    version: Position
    is_certain: bool
    users: frozenset[str]


@dataclass(frozen=True, slots=True)
class Renewed:
    """
    Attributes:
        epoch: Another one than before: Redis was restarted, and may have forgotten something.
        claims: How many transitions Redis holds that this node is to tell.
        streams: How many streams it holds that this node has subscriptions of.
    """

    epoch: str
    claims: int
    streams: int


@dataclass(frozen=True, slots=True)
class Reaped:
    """
    Attributes:
        more: Whether another call has work to do.
    """

    more: bool
    transitions: tuple[Transition, ...]


def kind_of(online: bool) -> str:
    return "online" if online else "offline"


def parse_renewed(reply: list[Any]) -> Renewed | None:
    return Renewed(reply[0].decode(), reply[1], reply[2]) if reply else None


def parse_answer(
    counts: Sequence[Count], missing: Sequence[Stream], ring: Ring | None, reply: list[Any]
) -> Answer | None:
    if reply[0] == b"FENCED":
        return None
    epoch = reply[1].decode()
    attached = [_parse_attached(epoch, *answer) if answer and answer[0] != b"REVOKED" else None for answer in reply[2]]
    revoked = {
        count.stream: int(answer[1]) / 1000
        for count, answer in zip(counts, reply[2], strict=True)
        if answer and answer[0] == b"REVOKED"
    }
    pages = [parse_missed(epoch, page, stream, ring) for stream, page in zip(missing, reply[3], strict=True)]
    return Answer(attached, pages, revoked)


def _parse_attached(epoch: str, top: bytes, jobs_top: bytes, transition: Any = None, *last: bytes) -> Attached:
    positions = Position(epoch, int(top)), Position(epoch, int(jobs_top))
    if not last:
        return Attached(*positions)
    seq, online, told, told_online, revoked_ms = last
    known = Known(int(seq), online == b"1", int(told), told_online == b"1")
    return Attached(*positions, known, parse_transition(transition) if transition else None, int(revoked_ms) / 1000)


def parse_reaped(reply: list[Any]) -> Reaped:
    return Reaped(bool(reply[0]), tuple(parse_transition(transition) for transition in reply[1:]))


def parse_transition(reply: list[Any]) -> Transition:
    stream, seq, kind, attempt = reply
    return Transition(stream.decode(), int(seq), kind == b"online", int(attempt))
