"""One connection's part in one stream, and all those of this process that are subscribed to it."""

from typing import TYPE_CHECKING

from qrsocket.position import Position
from qrsocket.streams import Stream

if TYPE_CHECKING:
    from qrsocket.server.connection import Connection


class Subscription:
    """
    Attributes:
        position: Of the last message that was offered, unless it is live; None until it begins.
        starts: The stream's newest message when Redis first knew of it: what is sent from then on is for it.
        since: Where it began: what was sent before is of no concern to it but as a message.
        member: The user's part in a topic that tells who has joined.
    """

    __slots__ = ("connection", "member", "position", "since", "starts", "stream")

    def __init__(self, connection: "Connection", stream: Stream) -> None:
        self.connection, self.stream = connection, stream
        self.member: Stream | None = None
        self.position: Position | None = None
        self.since: Position | None = None
        self.starts: Position | None = None


class Feed:
    """
    The subscriptions of one stream, by their connections' ids.

    Attributes:
        epoch, offset: Of the newest message that this node has heard of; no epoch if it knows nothing yet.
        live: Up to date: messages go to them as they come.
        behind: Not begun yet, or reading what they missed.
    """

    __slots__ = ("behind", "epoch", "live", "offset")

    def __init__(self) -> None:
        self.epoch, self.offset = "", 0
        self.live: dict[str, Subscription] = {}
        self.behind: dict[str, Subscription] = {}

    @property
    def position(self) -> Position | None:
        return Position(self.epoch, self.offset) if self.epoch else None

    @position.setter
    def position(self, position: Position) -> None:
        self.epoch, self.offset = position

    def __len__(self) -> int:
        return len(self.live) + len(self.behind)

    @property
    def begun(self) -> tuple[Subscription, ...]:
        """All that have begun. A copy: to offer may close a connection, and its end removes its subscriptions."""
        if not self.behind:
            return tuple(self.live.values())
        return (*self.live.values(), *(one for one in self.behind.values() if one.position is not None))
