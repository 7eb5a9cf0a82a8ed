"""The table of open connections in Redis, which is the routing table too: every operation on it, as a `Call`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from qrsocket.keys import Keys
from qrsocket.position import Missed, Position, parse_missed
from qrsocket.roundtrip import Argument, Call, Script, script_call
from qrsocket.signing import Ring
from qrsocket.streams import Stream, user_of

# One call with 100 streams takes Redis 0.9 ms (2.4 ms at worst); with 500 it took 13 ms.
REAP_BATCH = 100


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
        return _kind(self.online)


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


def join(keys: Keys, node: str, *, lease: float, epoch: str = "") -> Call[str]:
    """
    Describe a node's joining with a lease of *lease* seconds; run, it returns the epoch. It must be subscribed to its
    channel already.

    Args:
        epoch: The one in which it was a node under another name.
    """
    script = _script(keys, "join")
    return script_call(script, [keys.base], [node, _ms(lease), epoch], lambda reply: str(reply.decode()))


def renew(keys: Keys, node: str, *, lease: float, grace: float) -> Call[Renewed | None]:
    """Describe the renewal of a lease; run, it returns None if the node was fenced and must join under a new name."""
    # The second key has it compare the process of Redis each time: 11 µs, which no other script needs to spend.
    return script_call(_script(keys, "renew"), [keys.base, keys.base], [node, _ms(lease), _ms(grace)], _parse_renewed)


def leave(keys: Keys, node: str) -> Call[None]:
    return script_call(_script(keys, "leave"), [keys.base], [node], _nothing)


def attach(
    keys: Keys,
    node: str,
    counts: Sequence[Count],
    since: Sequence[tuple[Stream, Position]] = (),
    *,
    grace: float,
    ring: Ring | None = None,
) -> Call[Answer | None]:
    """
    Describe how many subscriptions *node* has now; run, it returns None if the node was fenced. To repeat it is
    harmless.

    Args:
        since: Streams and positions of clients that come back.
        grace: Seconds that a user, or a member of a topic, may be gone before it is told.
        ring: What the messages that they have missed are signed by.
    """
    words: list[Argument] = [node, _ms(grace), len(counts)]
    for stream, here, most, known, issued in counts:
        words += [stream, here, most, _known_words(known), "" if issued is None else int(issued * 1000)]
    for stream, position in since:
        words += [stream, *position]
    missing = [stream for stream, _ in since]
    return script_call(_script(keys, "attach"), [keys.base], words, partial(_parse_answer, counts, missing, ring))


def members_of(keys: Keys, topic: str) -> Call[Members]:
    """Describe the question who has joined *topic*."""

    def parse(reply: list[Any]) -> Members:
        epoch, version, is_uncertain, users = reply
        position = Position(epoch.decode(), int(version))
        return Members(position, not is_uncertain, frozenset(user.decode() for user in users))

    return script_call(_script(keys, "members_of"), [keys.base], [topic], parse)


def count_of(keys: Keys, stream: Stream) -> Call[int]:
    """Describe the question how many subscriptions of *stream* there are."""
    return Call(("HVALS", keys.route(stream)), lambda reply: sum(map(int, reply)))


def acknowledge(keys: Keys, node: str, transition: Transition, *, grace: float) -> Call[Transition | None]:
    """Describe that *node* has told *transition*; run, it returns the next transition that it is to tell."""

    def parse(reply: list[Any]) -> Transition | None:
        return _parse_transition(reply[1]) if len(reply) > 1 else None

    args: list[Argument] = [node, transition.stream, transition.seq, transition.kind, _ms(grace)]
    return script_call(_script(keys, "acknowledge"), [keys.base], args, parse)


def reclaim(keys: Keys, node: str, transition: Transition, *, former: str, epoch: str) -> Call[bool]:
    """
    Describe that *node* goes on with *transition*, which it had to tell under its *former* name in *epoch*; run, it
    returns False if another node has it by now, or has told it.
    """
    args: list[Argument] = [node, transition.stream, transition.seq, transition.kind, transition.attempt, former, epoch]
    return script_call(_script(keys, "reclaim"), [keys.base], args, bool)


def claims(keys: Keys, node: str) -> Call[tuple[Transition, ...]]:
    """Describe the reading of the transitions that *node* is to tell, as Redis has it."""
    return script_call(_script(keys, "claims"), [keys.base], [node], lambda reply: tuple(map(_parse_transition, reply)))


def reap(keys: Keys, node: str, *, grace: float, batch: int = REAP_BATCH) -> Call[Reaped]:
    """Describe one step of emptying dead nodes and of telling who has been gone for longer than *grace* seconds."""
    script = _script(keys, "reap")
    return script_call(script, [keys.base], [node, _ms(grace), batch], _parse_reaped)


def online_of(keys: Keys, streams: Sequence[Stream]) -> Call[set[Stream]]:
    """Describe the question who of *streams* has an open connection anywhere."""

    def parse(reply: list[int]) -> set[Stream]:
        return {stream for stream, is_online in zip(streams, reply, strict=True) if is_online}

    return script_call(_script(keys, "online"), [keys.base], list(streams), parse)


def everyone(keys: Keys) -> Call[set[Stream]]:
    """Describe the reading of everyone who has an open connection. Reads it whole: for thousands, not for millions."""
    return script_call(_script(keys, "everyone"), [keys.base], [], lambda reply: {word.decode() for word in reply})


def live_nodes(keys: Keys) -> Call[list[str]]:
    """Describe the reading of the nodes whose lease was not found ended yet."""
    return Call(("ZRANGE", keys.nodes, 0, -1), lambda reply: [word.decode() for word in reply])


def _script(keys: Keys, name: str) -> Script:
    return Script.load(f"presence/{name}", base=keys.base)


def _kind(online: bool) -> str:
    return "online" if online else "offline"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _nothing(_reply: Any) -> None:
    return None


def _parse_renewed(reply: list[Any]) -> Renewed | None:
    return Renewed(reply[0].decode(), reply[1], reply[2]) if reply else None


def _known_words(known: Known) -> str:
    if not known.seq:
        return ""
    return f"{known.seq} {_kind(known.online)} {known.told} {_kind(known.told_online)}"


def _parse_answer(
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
    return Attached(*positions, known, _parse_transition(transition) if transition else None, int(revoked_ms) / 1000)


def _parse_reaped(reply: list[Any]) -> Reaped:
    return Reaped(bool(reply[0]), tuple(_parse_transition(transition) for transition in reply[1:]))


def _parse_transition(reply: list[Any]) -> Transition:
    stream, seq, kind, attempt = reply
    return Transition(stream.decode(), int(seq), kind == b"online", int(attempt))
