"""The table of open connections in Redis, which is the routing table too: every operation on it, as a `Call`."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from qrsocket.keys import Keys
from qrsocket.position import Position
from qrsocket.presence.answers import (
    Answer,
    Count,
    Known,
    Members,
    Reaped,
    Renewed,
    Transition,
    kind_of,
    parse_answer,
    parse_reaped,
    parse_renewed,
    parse_transition,
)
from qrsocket.roundtrip import Argument, Call, Script, script_call
from qrsocket.signing import Ring
from qrsocket.streams import Stream

# One call with 100 streams takes Redis 0.9 ms (2.4 ms at worst); with 500 it took 13 ms.
REAP_BATCH = 100


def join(keys: Keys, node: str, *, lease: float, epoch: str = "") -> Call[str]:
    """
    Describe a node's joining with a lease of *lease* seconds; run, it returns the epoch. It must be subscribed to its
    channel already.

    Args:
        epoch: The one in which it was a node under another name.
    """
    script = _script(keys, "join")
    return script_call(script, [keys.base], [node, _ms(lease), epoch], lambda reply: str(reply.decode()))


def renew(keys: Keys, node: str, *, lease: float, grace: float, figures: bytes = b"") -> Call[Renewed | None]:
    """
    Describe the renewal of a lease; run, it returns None if the node was fenced and must join under a new name.

    Args:
        figures: What the node says of itself: see `Figures`.
    """
    words: list[Argument] = [node, _ms(lease), _ms(grace), figures]
    # The second key has it compare the process of Redis each time: 11 µs, which no other script needs to spend.
    return script_call(_script(keys, "renew"), [keys.base, keys.base], words, parse_renewed)


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
    return script_call(_script(keys, "attach"), [keys.base], words, partial(parse_answer, counts, missing, ring))


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


def nodes_of(keys: Keys, stream: Stream) -> Call[list[str]]:
    """Describe the question which nodes have subscriptions of *stream*."""
    return Call(("HKEYS", keys.route(stream)), lambda reply: [word.decode() for word in reply])


def acknowledge(keys: Keys, node: str, transition: Transition, *, grace: float) -> Call[Transition | None]:
    """Describe that *node* has told *transition*; run, it returns the next transition that it is to tell."""

    def parse(reply: list[Any]) -> Transition | None:
        return parse_transition(reply[1]) if len(reply) > 1 else None

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
    return script_call(_script(keys, "claims"), [keys.base], [node], lambda reply: tuple(map(parse_transition, reply)))


def reap(keys: Keys, node: str, *, grace: float, batch: int = REAP_BATCH) -> Call[Reaped]:
    """Describe one step of emptying dead nodes and of telling who has been gone for longer than *grace* seconds."""
    script = _script(keys, "reap")
    return script_call(script, [keys.base], [node, _ms(grace), batch], parse_reaped)


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


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _nothing(_reply: Any) -> None:
    return None


def _known_words(known: Known) -> str:
    if not known.seq:
        return ""
    return f"{known.seq} {kind_of(known.online)} {known.told} {kind_of(known.told_online)}"
