"""What web nodes say of themselves with each renewal of their leases, and how many users and topics they have."""

from dataclasses import dataclass, fields
from typing import Any

from pydantic_core import from_json, to_json

from qrsocket.keys import Keys
from qrsocket.roundtrip import Call, Script, script_call
from qrsocket.streams import user_of

# To tell users apart holds Redis up for about 12 ms by so many.
MOST_COUNTED = 20_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    What a node has refused, or ended.

    Attributes:
        at: Unix time.
        what: "handshake 403", "closed 4000" or "gap".
        cause: As the log says it.
        user: None if nobody knows whose it was.
    """

    at: float
    what: str
    cause: str
    user: str | None


@dataclass(frozen=True, slots=True)
class Slow:
    """
    How long a handler of messages has taken lately.

    Attributes:
        times: How often it has run.
        longest: Seconds.
    """

    handler: str
    times: int
    longest: float


@dataclass(frozen=True, slots=True)
class Figures:
    """
    What a node says of itself.

    Attributes:
        since: When it began (Unix time).
        connections: Open ones.
        messages_per_second: Written to them since the last renewal.
        waiting_bytes: For clients that do not read as fast as they are sent to.
        behind: Connections that read from histories what they have missed.
        lag: Seconds that its last heartbeat took through Redis, or for which one is out by now.
        refusals, slowest: The newest refusals, and the slowest handlers, where a console shows them.
    """

    version: str
    host: str
    pid: int
    since: float
    connections: int
    messages_per_second: float
    waiting_bytes: int
    behind: int
    lag: float
    refusals: tuple[Refusal, ...] = ()
    slowest: tuple[Slow, ...] = ()

    def to_json(self) -> bytes:
        return to_json(self)

    @staticmethod
    def from_json(text: bytes) -> "Figures | None":
        """Read what a node has said; None if it is of another version, and does not say all of this."""
        told = from_json(text)
        known = {field.name: told[field.name] for field in fields(Figures) if field.name in told}
        try:
            refusals = tuple(Refusal(**one) for one in known.pop("refusals", ()))
            slowest = tuple(Slow(**one) for one in known.pop("slowest", ()))
            return Figures(**known, refusals=refusals, slowest=slowest)
        except TypeError:
            return None


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """
    Attributes:
        lease_left: Seconds until it counts as dead, unless it renews its lease.
        figures: None if it has not renewed its lease for as long as one.
    """

    name: str
    lease_left: float
    figures: Figures | None


@dataclass(frozen=True, slots=True)
class Census:
    """
    Attributes:
        users, topics: How many have an open connection, or one that has joined; None: too many to count.
        some_users: Ids of some of them.
    """

    nodes: tuple[NodeSeen, ...]
    users: int | None
    topics: int | None
    some_users: tuple[str, ...]


def census(keys: Keys, *, names: int = 0) -> Call[Census]:
    """
    Describe the question who is there.

    Args:
        names: So many users are named.
    """
    script = Script.load("presence/census", base=keys.base)
    return script_call(script, [keys.base], [MOST_COUNTED, names], _parse)


def _parse(reply: list[Any]) -> Census:
    nodes, users, topics, streams = reply
    return Census(
        tuple(
            NodeSeen(name.decode(), left_ms / 1000, Figures.from_json(said) if said else None)
            for name, left_ms, said in nodes
        ),
        None if users < 0 else users,
        None if topics < 0 else topics,
        tuple(user for stream in streams if (user := user_of(stream.decode())) is not None),
    )
