"""Telling Redis of the subscriptions of one stream, and what it answers."""

from dataclasses import dataclass, replace
from enum import Enum, auto

from qrsocket.keys import Keys
from qrsocket.position import Missed, Position
from qrsocket.presence import table
from qrsocket.presence.answers import UNKNOWN, Count, Known, Transition
from qrsocket.roundtrip import Call
from qrsocket.streams import Stream


class Attach(Enum):
    """What became of a node's word."""

    OK = auto()
    FENCED = auto()
    LIMIT = auto()


@dataclass(frozen=True)
class Attached:
    """
    Attributes:
        missed: What came since the position that was asked for; without one, the newest position and no messages.
    """

    status: Attach
    known: Known = UNKNOWN
    missed: Missed | None = None
    transition: Transition | None = None


def attach(
    keys: Keys,
    node: str,
    stream: Stream,
    count: int,
    *,
    limit: int,
    grace: float,
    known: Known = UNKNOWN,
    since: Position | None = None,
) -> Call[Attached]:
    call = table.attach(
        keys, node, [Count(stream, count, limit, known)], [] if since is None else [(stream, since)], grace=grace
    )

    def parse(reply: object) -> Attached:
        answer = call.parse(reply)
        if answer is None:
            return Attached(Attach.FENCED)
        attached, pages = answer.attached[0], answer.pages
        if attached is None:
            return Attached(Attach.LIMIT)
        missed = pages[0] if pages else Missed(attached.top, attached.top, True)
        return Attached(Attach.OK, attached.known, missed, attached.transition)

    return replace(call, parse=parse)  # type: ignore[arg-type]
