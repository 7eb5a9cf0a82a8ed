"""The first frame of a client that speaks `qrsocket.v1`: who it is, and where it was."""

from dataclasses import dataclass, field
from typing import Any

from qrsocket.errors import SocketError
from qrsocket.position import Position
from qrsocket.server.wire import fields_of
from qrsocket.streams import EVERYONE
from qrsocket.topics import MAX_TOPICS, is_topic

MAX_EPOCH = 64
MAX_OFFSET = 2**53  # JavaScript counts no further


@dataclass(frozen=True, slots=True)
class Hello:
    """
    Attributes:
        since: Where the client was, in what is sent to its user, when it lost its connection.
        topics: Where it was in the topics that it had joined.
        connection: Id of the connection that it has lost.
        auth: What says who it is, for `authenticate`.
    """

    since: Position | None = None
    topics: dict[str, Position] = field(default_factory=dict)
    connection: str = ""
    auth: Any = None


def read_hello(frame: str | bytes, *, max_depth: int) -> Hello | None:
    """
    Read the first frame of a client that speaks `qrsocket.v1`; None if it is a message already.

    Raises:
        SocketError: It is a `!hello` that we cannot read.
    """
    header, _, body = frame.partition("\n") if isinstance(frame, str) else ("", "", "")
    if header.partition(" ")[0] != "!hello":
        return None
    fields = fields_of("!hello", body, max_depth)
    topics, connection = fields.get("topics") or {}, fields.get("connection")
    if not isinstance(topics, dict) or len(topics.keys() - {EVERYONE}) > MAX_TOPICS or not all(map(is_topic, topics)):
        raise SocketError(f"!hello: topics are at most {MAX_TOPICS}, by their names")
    since = {topic: read_position("!hello", position) for topic, position in topics.items()}
    return Hello(
        read_position("!hello", fields),
        {topic: position for topic, position in since.items() if position is not None},
        connection if isinstance(connection, str) else "",
        fields.get("auth"),
    )


def read_position(header: str, fields: Any) -> Position | None:
    """
    Raises:
        SocketError: There is an epoch or an offset, but not one of ours.
    """
    match fields:
        case {"epoch": str(epoch), "offset": bool()}:
            pass
        case {"epoch": str(epoch), "offset": int(offset)} if 0 < len(epoch) <= MAX_EPOCH and 0 <= offset <= MAX_OFFSET:
            return Position(epoch, offset)
        case {"epoch": None, "offset": None}:
            return None
        case dict() if "epoch" not in fields and "offset" not in fields:
            return None
    raise SocketError(f"{header}: epoch and offset are those of the last ready, gap or message, or both are left out")
