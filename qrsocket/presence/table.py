"""The table of open connections in Redis, which is the routing table too: every operation on it, as a `Call`."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from qrsocket.audience import Audience, user_of
from qrsocket.keys import Keys
from qrsocket.position import Missed, Position, parse_missed
from qrsocket.roundtrip import Call, Script, Word, script_call

# One call with 100 audiences takes Redis 0.9 ms (2.4 ms at worst); with 500 it took 13 ms.
REAP_BATCH = 100


class Attach(Enum):
    """What became of a node's word on its connections."""

    OK = b"OK"
    FENCED = b"FENCED"
    LIMIT = b"LIMIT"


@dataclass(frozen=True, slots=True)
class Edge:
    """
    A user came online or went offline, in the whole cluster. The node that gets it is to tell it.

    Attributes:
        seq: Grows by one with each edge of the user.
        attempt: 2 and more if it was another node's to tell, which was killed or cut off before it said it was done.
    """

    audience: Audience
    seq: int
    online: bool
    attempt: int = 1

    @property
    def id(self) -> str:
        """The same in each attempt, and of no other edge."""
        return f"{user_of(self.audience)}:{self.seq}"

    @property
    def kind(self) -> str:
        return _kind(self.online)


class Known(NamedTuple):
    """
    What a node knows of a user's edges, in case Redis forgets it.

    Attributes:
        seq, online: Number and kind of the last one; 0 if none is known.
        told, told_online: Of the last one that was told, by this node or as Redis said.
    """

    seq: int = 0
    online: bool = False
    told: int = 0
    told_online: bool = False


UNKNOWN = Known()


@dataclass(frozen=True, slots=True)
class Attached:
    """
    Attributes:
        known: The user's edges, as Redis has them. Only with OK, as are the others.
        missed: What came since the position that was asked for; without one, the newest position and no messages.
        edge: To be told by this node.
    """

    status: Attach
    known: Known = UNKNOWN
    missed: Missed | None = None
    edge: Edge | None = None


@dataclass(frozen=True, slots=True)
class Renewed:
    """
    Attributes:
        epoch: Another one than before: Redis was restarted, and may have forgotten something.
        claims: How many edges Redis holds that this node is to tell.
        members: How many audiences it holds that this node has connections of.
    """

    epoch: str
    claims: int
    members: int


@dataclass(frozen=True, slots=True)
class Reaped:
    """
    Attributes:
        more: Whether another call has work to do.
    """

    more: bool
    edges: tuple[Edge, ...]


def join(keys: Keys, node: str, *, lease: float, epoch: str = "") -> Call[str]:
    """
    Describe a node's joining with a lease of *lease* seconds; run, it returns the epoch. It must be subscribed to its
    channel already.

    Args:
        epoch: The one in which it was a node under another name.
    """
    script = _script(keys, "join", "epoch")
    return script_call(script, [keys.base], [node, _ms(lease), epoch], lambda reply: str(reply.decode()))


def renew(keys: Keys, node: str, *, lease: float, grace: float) -> Call[Renewed | None]:
    """Describe the renewal of a lease; run, it returns None if the node was fenced and must join under a new name."""
    # The second key has it compare the process of Redis each time: 11 µs, which no other script needs to spend.
    return script_call(
        _script(keys, "renew", "epoch"), [keys.base, keys.base], [node, _ms(lease), _ms(grace)], _parse_renewed
    )


def leave(keys: Keys, node: str) -> Call[None]:
    return script_call(_script(keys, "leave"), [keys.base], [node], _nothing)


def attach(
    keys: Keys,
    node: str,
    audience: Audience,
    count: int,
    *,
    limit: int,
    grace: float,
    known: Known = UNKNOWN,
    since: Position | None = None,
) -> Call[Attached]:
    """
    Describe that *node* now has *count* open connections of *audience*. To repeat it is harmless.

    Args:
        limit: Most open connections of the audience on all nodes together. A count that falls is never refused.
        grace: Seconds that a user may be gone before going offline is told.
        since: Position of a client that comes back.
    """
    edges: list[Word] = [known.seq, _kind(known.online), known.told, _kind(known.told_online)]
    position: list[Word] = ["", ""] if since is None else [since.epoch, since.offset]
    args: list[Word] = [node, audience, count, limit, _ms(grace), *edges, *position]
    script = _script(keys, "attach", "epoch", "stream", "presence/transition")
    return script_call(script, [keys.base], args, _parse_attached)


def acknowledge(keys: Keys, node: str, edge: Edge, *, grace: float) -> Call[Edge | None]:
    """Describe that *node* has told *edge*; run, it returns the next edge that it is to tell."""

    def parse(reply: list[Any]) -> Edge | None:
        return _parse_edge(reply[1]) if len(reply) > 1 else None

    args: list[Word] = [node, edge.audience, edge.seq, edge.kind, _ms(grace)]
    return script_call(_script(keys, "acknowledge", "epoch", "presence/transition"), [keys.base], args, parse)


def reclaim(keys: Keys, node: str, edge: Edge, *, former: str, epoch: str) -> Call[bool]:
    """
    Describe that *node* goes on with *edge*, which it had to tell under its *former* name in *epoch*; run, it returns
    False if another node has it by now, or has told it.
    """
    args: list[Word] = [node, edge.audience, edge.seq, edge.kind, edge.attempt, former, epoch]
    return script_call(_script(keys, "reclaim", "epoch", "presence/transition"), [keys.base], args, bool)


def claims(keys: Keys, node: str) -> Call[tuple[Edge, ...]]:
    """Describe the reading of the edges that *node* is to tell, as Redis has it."""
    return script_call(_script(keys, "claims"), [keys.base], [node], lambda reply: tuple(map(_parse_edge, reply)))


def reap(keys: Keys, node: str, *, grace: float, batch: int = REAP_BATCH) -> Call[Reaped]:
    """Describe one step of emptying dead nodes and of telling who has been gone for longer than *grace* seconds."""
    script = _script(keys, "reap", "epoch", "presence/transition")
    return script_call(script, [keys.base], [node, _ms(grace), batch], _parse_reaped)


def online_of(keys: Keys, audiences: Sequence[Audience]) -> Call[set[Audience]]:
    """Describe the question who of *audiences* has an open connection anywhere."""

    def parse(reply: list[int]) -> set[Audience]:
        return {audience for audience, is_online in zip(audiences, reply, strict=True) if is_online}

    return script_call(_script(keys, "online"), [keys.base], list(audiences), parse)


def everyone(keys: Keys) -> Call[set[Audience]]:
    """Describe the reading of everyone who has an open connection. Reads it whole: for thousands, not for millions."""
    return script_call(_script(keys, "everyone"), [keys.base], [], lambda reply: {word.decode() for word in reply})


def live_nodes(keys: Keys) -> Call[list[str]]:
    """Describe the reading of the nodes whose lease was not found ended yet."""
    return Call(("ZRANGE", keys.nodes, 0, -1), lambda reply: [word.decode() for word in reply])


def _script(keys: Keys, name: str, *prelude: str) -> Script:
    return Script.load("qrsocket.presence", name, *prelude, base=keys.base)


def _kind(online: bool) -> str:
    return "online" if online else "offline"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _nothing(_reply: Any) -> None:
    return None


def _parse_renewed(reply: list[Any]) -> Renewed | None:
    return Renewed(reply[0].decode(), reply[1], reply[2]) if reply else None


def _parse_attached(reply: list[Any]) -> Attached:
    status = Attach(reply[0])
    if status is not Attach.OK:
        return Attached(status)
    _, (seq, online, told, told_online), page, *edge = reply
    known = Known(int(seq), online == b"1", int(told), told_online == b"1")
    return Attached(status, known, parse_missed(page), _parse_edge(edge[0]) if edge and edge[0] else None)


def _parse_reaped(reply: list[Any]) -> Reaped:
    return Reaped(bool(reply[0]), tuple(_parse_edge(edge) for edge in reply[1:]))


def _parse_edge(reply: list[Any]) -> Edge:
    audience, seq, kind, attempt = reply
    return Edge(audience.decode(), int(seq), kind == b"online", int(attempt))
