"""
The connections open in this process, by audience, and how far each is in what is sent to them.

Whoever is up to date is *live*: messages go to it as they come. Whoever is *behind*, since it has just come or since
this node did not hear a message, reads from the streams until it is level. Knows nothing of Redis.
"""

from collections.abc import Callable

from qrsocket.audience import Audience, of_connection
from qrsocket.errors import CloseCode
from qrsocket.fanout.publish import Frame
from qrsocket.message import Close, Kind, Message
from qrsocket.position import Missed, Position
from qrsocket.server.connection import Connection
from qrsocket.server.wire import Event, Wire

# Of these nothing is kept in the streams.
NOT_KEPT = (Kind.PROGRESS, Kind.CHUNK)


class Feed:
    """
    The connections of one audience.

    Attributes:
        position: Of the newest message that this node has heard of; None if it knows nothing yet.
    """

    __slots__ = ("behind", "live", "position")

    def __init__(self) -> None:
        self.position: Position | None = None
        self.live: dict[str, Connection] = {}
        self.behind: dict[str, Connection] = {}

    def __len__(self) -> int:
        return len(self.live) + len(self.behind)


class Hub:
    def __init__(self, on_behind: Callable[[Connection], None]) -> None:
        """
        Args:
            on_behind: Gets a connection that is to read what it missed, for `take_page`; must not block.
        """
        self._on_behind = on_behind
        self._feeds: dict[Audience, Feed] = {}
        # What was sent to a connection before it had a user may still be on its way when it has one.
        self._by_own_audience: dict[Audience, Connection] = {}

    def add(self, connection: Connection) -> None:
        """Count *connection* among those of its audience. It receives nothing before `begin`."""
        self._by_own_audience[of_connection(connection.id)] = connection
        self._feeds.setdefault(connection.audience, Feed()).behind[connection.id] = connection

    def begin(self, connection: Connection, page: Missed) -> None:
        """Let *connection* receive what it has missed, and then what is sent."""
        feed = self._feeds.get(connection.audience)
        if feed is None or connection.id not in feed.behind:
            return  # it has gone again
        connection.since = page.top
        self._read(feed, connection, page)

    def move(self, connection: Connection, audience: Audience) -> None:
        """Make *connection* one of *audience*; it still receives what is sent to itself."""
        self.remove(connection)
        connection.audience, connection.position = audience, None
        self.add(connection)

    def remove(self, connection: Connection) -> None:
        """Forget *connection*; if it is not known, nothing happens."""
        self._by_own_audience.pop(of_connection(connection.id), None)
        feed = self._feeds.get(connection.audience)
        if feed is not None:
            feed.live.pop(connection.id, None)
            feed.behind.pop(connection.id, None)
            if not feed:
                del self._feeds[connection.audience]

    def count(self, audience: Audience) -> int:
        return len(self._feeds.get(audience, ()))

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._by_own_audience)

    @property
    def audiences(self) -> tuple[Audience, ...]:
        return tuple(self._feeds)

    def deliver(self, frame: Frame) -> None:
        """Offer a frame to every open connection of its recipients."""
        message = Message(frame.kind, frame.payload)
        for audience, offset in frame.recipients:
            feed = self._feeds.get(audience)
            if feed is not None and frame.kind in NOT_KEPT:
                # Who is behind learns of newer things later. What a job writes is read again where a piece is missing.
                _offer_newest(tuple(feed.live.values()), message, frame.message_id)
            elif feed is not None:
                if frame.kind is Kind.JOB:
                    for connection in feed.live.values():
                        connection.drop_newest(frame.message_id)
                self._next(feed, Position(frame.epoch, offset), message)
            elif own := self._by_own_audience.get(audience):
                _offer((own,), None, message)

    def heard(self, audience: Audience, position: Position) -> None:
        """Learn that there is a message at *position*. Those who have not had it are behind."""
        feed = self._feeds.get(audience)
        if feed is not None:
            self._heard(feed, position)

    def heard_of(self, audience: Audience) -> Position | None:
        """Return the position of the newest message that this node has heard of."""
        feed = self._feeds.get(audience)
        return None if feed is None else feed.position

    def take_page(self, connection: Connection, page: Missed, heard: Position | None) -> None:
        """
        Offer a page of what *connection* has missed since its position; it is live if that is all.

        Args:
            heard: What this node had heard of before the page was read. If the stream ends before it, a forged or
                broken frame said it, and the connection would read in vain for ever.
        """
        feed, before = self._feeds.get(connection.audience), connection.position
        if feed is None or connection.id not in feed.behind or before is None:
            return
        if feed.position == heard and heard is not None and page.top < heard and page.top.epoch == heard.epoch:
            feed.position = page.top
        is_told = page.is_whole or connection.tell("gap", **page.start._asdict())
        if not is_told and page.top.epoch == before.epoch:
            # With another epoch nothing need be missing, and everybody would come back at once.
            connection.close(CloseCode.POSITION_LOST, "messages were lost")
        self._read(feed, connection, page)

    def is_behind(self, connection: Connection) -> bool:
        feed = self._feeds.get(connection.audience)
        is_known = feed is not None and connection.id in feed.behind
        return is_known and connection.closing is None and connection.position is not None

    @property
    def connections(self) -> tuple[Connection, ...]:
        return tuple(self._by_own_audience.values())

    def close_all(self, code: int, reason: str) -> None:
        for connection in self.connections:
            connection.close(code, reason)

    def _next(self, feed: Feed, position: Position, message: Message) -> None:
        before = feed.position
        if before is None or before.epoch != position.epoch or before.offset + 1 != position.offset:
            self._heard(feed, position)  # or it is an old one, which was read from the stream meanwhile
            return
        feed.position = position
        # Copied: offering may close a connection, and its end removes it.
        _offer(tuple(feed.live.values()), position.offset, message)

    def _heard(self, feed: Feed, position: Position) -> None:
        before = feed.position
        if before is not None and before.epoch == position.epoch and before.offset >= position.offset:
            return
        feed.position = position
        fallen, feed.live = feed.live, {}
        feed.behind |= fallen
        for connection in fallen.values():
            connection.position = before
            connection.drop_newest()
            self._on_behind(connection)

    def _read(self, feed: Feed, connection: Connection, page: Missed) -> None:
        for entry in page.entries:
            connection.offer_entry(entry)
        connection.position = page.reached
        self._heard(feed, page.top)
        if connection.position == feed.position and connection.has_room:
            del feed.behind[connection.id]
            feed.live[connection.id] = connection
        else:
            self._on_behind(connection)


def _offer(connections: tuple[Connection, ...], offset: int | None, message: Message) -> None:
    if message.kind is Kind.CLOSE:
        order = Close.from_payload(message.payload)
        for connection in connections:
            connection.obey(order)
        return
    events: dict[Wire, Event] = {}
    for connection in connections:
        event = events.get(connection.wire)
        if event is None:
            event = events[connection.wire] = connection.wire.message(offset, message)
        connection.offer(event)


def _offer_newest(connections: tuple[Connection, ...], message: Message, job: str) -> None:
    for connection in connections:
        event = connection.wire.message(None, message)
        if message.kind is Kind.PROGRESS:
            connection.offer_newest(job, event)
        elif connection.has_room:
            connection.offer(event)
