"""
The connections open in this process, what each is subscribed to, and how far it is in that. (Over 250 lines: all of
them keep the same two dictionaries true.)

A subscription that is up to date is *live*: messages go to it as they come. One that is *behind*, since it has just
begun or since this node did not hear a message, reads from the stream until it is level. Knows nothing of Redis.
"""

from collections import Counter
from collections.abc import Callable

from qrsocket import events, spans
from qrsocket.errors import CloseCode
from qrsocket.fanout.publish import Envelope
from qrsocket.message import BINARY, JSON, ORDERS, TEXT, Kind, Message
from qrsocket.position import Missed, Position
from qrsocket.server import tracing
from qrsocket.server.connection import Connection
from qrsocket.server.noting import note_behind, note_offered, note_recovered
from qrsocket.server.offering import give_order, offer, offer_uncounted
from qrsocket.server.states import PASSING, STATES, States
from qrsocket.server.subscription import Feed, Subscription
from qrsocket.streams import Stream, of_member, topic_of, user_of


class Hub:
    """
    Attributes:
        states: Of jobs and members, which are told and not kept.
    """

    def __init__(
        self,
        on_behind: Callable[[Subscription], None],
        on_stale: Callable[[Stream], None],
        on_members: Callable[[], None],
    ) -> None:
        """
        Args:
            on_behind: Gets a subscription that is to read what it missed, for `take_page`; must not block.
            on_stale, on_members: See `States`.
        """
        self._on_behind = on_behind
        self._connections: dict[str, Connection] = {}
        self._feeds: dict[Stream, Feed] = {}
        self.states = States(self._feeds, on_stale, on_members)
        self._parts: Counter[Stream] = Counter()  # of users in topics that tell who has joined

    # Connections and their subscriptions

    def add(self, connection: Connection) -> None:
        self._connections[connection.id] = connection

    def remove(self, connection: Connection) -> tuple[Stream, ...]:
        """Forget *connection*. Returns the streams that it was subscribed to; if it is not known, none."""
        self._connections.pop(connection.id, None)
        return tuple(
            stream for name in tuple(connection.subscriptions) for stream in self.unsubscribe(connection, name)
        )

    def subscribe(self, connection: Connection, stream: Stream, *, members: bool = False) -> Subscription:
        """
        Subscribe *connection* to *stream*. It receives nothing of it before `begin`.

        Args:
            members: It is the stream of a topic whose members are told.
        """
        subscription = connection.subscriptions[stream] = Subscription(connection, stream)
        self._feeds.setdefault(stream, Feed()).behind[connection.id] = subscription
        self.states.begin(stream, members=members)
        self.add_member(subscription)
        return subscription

    def add_member(self, subscription: Subscription) -> Stream | None:
        """Count the user, once there is one, as a member of the topic; return the stream of that, if it is new."""
        topic, user = topic_of(subscription.stream), subscription.connection.user
        if topic is None or user is None or self.states.members(topic) is None or subscription.member:
            return None
        subscription.member = of_member(topic, user)
        self._parts[subscription.member] += 1
        return subscription.member

    def unsubscribe(self, connection: Connection, stream: Stream) -> tuple[Stream, ...]:
        """End a subscription. Returns the streams that this node has fewer subscriptions of."""
        subscription = connection.subscriptions.pop(stream, None)
        if subscription is None:
            return ()
        feed = self._feeds[stream]
        feed.live.pop(connection.id, None)
        feed.behind.pop(connection.id, None)
        if not feed:
            del self._feeds[stream]
            self.states.end(stream)
        if subscription.member is None:
            return (stream,)
        self._parts[subscription.member] -= 1
        if not self._parts[subscription.member]:
            del self._parts[subscription.member]
        return (stream, subscription.member)

    def count(self, stream: Stream) -> int:
        return self._parts.get(stream) or len(self._feeds.get(stream, ()))

    def proof(self, stream: Stream) -> float | None:
        """
        Return when the oldest proof of those who are subscribed to a user's *stream* and have not begun was issued
        (Unix time, 0 if that is not known); None if all have.
        """
        feed = self._feeds.get(stream)
        if feed is None or user_of(stream) is None:
            return None
        return min((one.connection.issued for one in feed.behind.values() if one.position is None), default=None)

    def put_out(self, stream: Stream, revoked_at: float) -> tuple[Stream, ...]:
        """
        End those subscriptions of a user's *stream* that have not begun and whose proof is from before *revoked_at*.
        Returns the streams that this node has fewer subscriptions of.
        """
        feed = self._feeds.get(stream)
        waiting = [one.connection for one in feed.behind.values() if one.position is None] if feed else []
        for connection in waiting:
            connection.revoke(revoked_at)
        return tuple(
            fewer
            for connection in waiting
            if connection.issued < revoked_at
            for fewer in self.unsubscribe(connection, stream)
        )

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._connections)

    @property
    def connections(self) -> tuple[Connection, ...]:
        return tuple(self._connections.values())

    def facts_of(self, connection: str) -> dict[str, object]:
        """Return what the log says of the connection that has this id."""
        known = self._connections.get(connection)
        return {} if known is None else known.facts

    def is_live(self, subscription: Subscription) -> bool:
        feed = self._feeds.get(subscription.stream)
        return feed is not None and feed.live.get(subscription.connection.id) is subscription

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All that this node has subscriptions of."""
        return (*self._feeds, *self._parts)

    @property
    def counted(self) -> tuple[Stream, ...]:
        """All that this node may have missed something of."""
        return (*self._feeds, *self.states.counted)

    def close_all(self, code: int, reason: str) -> None:
        for connection in self.connections:
            connection.close(code, reason)

    # Messages

    def begin(self, subscription: Subscription, page: Missed) -> None:
        """Let it receive what it has missed, and then what is sent."""
        feed = self._feeds.get(subscription.stream)
        if feed is None or feed.behind.get(subscription.connection.id) is not subscription:
            return  # it has gone again
        starts = subscription.starts
        subscription.since = starts if starts is not None and starts.epoch == page.top.epoch else page.top
        self._read(feed, subscription, page)

    def deliver(self, envelope: Envelope) -> None:
        """
        Offer what is in an envelope to every subscription of its recipients.

        What Redis says itself is never taken for a message or an order of the application: that may have to be signed.
        """
        message, epoch, feeds = envelope.message, envelope.epoch, self._feeds
        kind = message.kind
        is_message = kind is JSON or kind is TEXT or kind is BINARY
        if not is_message and kind not in ORDERS:
            self._deliver_of_redis(envelope)
            return
        for stream, offset in envelope.recipients:
            feed = feeds.get(stream)
            if feed is None:
                continue
            if events.message_observers:
                note_offered(feed, stream, offset, envelope)
            if offset is None:
                if is_message:
                    offer_uncounted(feed.begun, stream, message, envelope.message_id)
            elif feed.offset + 1 != offset or feed.epoch != epoch:
                # Some are missing, or it is an old one, which was read from the stream meanwhile.
                self._heard(feed, Position(epoch, offset))
            else:
                feed.offset = offset
                # Copied: offering may close a connection, and its end removes its subscriptions.
                live = tuple(feed.live.values())
                if is_message:
                    offer(live, stream, offset, message)
                else:
                    self._give(feed, live, message)

    def _deliver_of_redis(self, envelope: Envelope) -> None:
        kind = envelope.message.kind
        for stream, offset in envelope.recipients:
            if kind in STATES and offset is not None:
                self.states.deliver(stream, Position(envelope.epoch, offset), envelope)
            elif kind in PASSING and offset is None and (feed := self._feeds.get(stream)):
                offer_uncounted(feed.begun, stream, envelope.message, envelope.message_id)

    def heard(self, stream: Stream, position: Position) -> None:
        """Learn that there is a message, or a change, at *position*. Those who have not had it are behind."""
        if feed := self._feeds.get(stream):
            self._heard(feed, position)
        else:
            self.states.compare(stream, position)

    def attached(self, stream: Stream, top: Position, revoked_at: float = 0.0) -> None:
        """
        Learn that Redis knows of all that are subscribed to *stream*, whose newest message is at *top*. It may know of
        one before its own call is answered: another's call, or a renewal, told of both.

        Args:
            revoked_at: When the user was revoked. This node may have been cut off when the order to close came.
        """
        if feed := self._feeds.get(stream):
            if revoked_at:
                for subscription in (*feed.live.values(), *feed.behind.values()):
                    subscription.connection.revoke(revoked_at)
            for subscription in feed.behind.values():
                if subscription.position is None and subscription.starts is None:
                    subscription.starts = top
            self._heard(feed, top)

    def heard_of(self, stream: Stream) -> Position | None:
        """Return the position of the newest message that this node has heard of."""
        feed = self._feeds.get(stream)
        return None if feed is None else feed.position

    def position_of(self, subscription: Subscription) -> Position | None:
        """Return the position of the last message that was offered to it."""
        feed = self._feeds.get(subscription.stream)
        return feed.position if feed is not None and self.is_live(subscription) else subscription.position

    def take_page(self, subscription: Subscription, page: Missed, heard: Position | None) -> None:
        """
        Offer a page of what was missed since its position; it is live if that is all.

        Args:
            heard: What this node had heard of before the page was read. If the stream ends before it, a forged or
                broken envelope said it, and the subscription would read in vain for ever.
        """
        feed, before = self._feeds.get(subscription.stream), subscription.position
        if feed is None or not self.is_behind(subscription) or before is None:
            return
        if feed.position == heard and heard is not None and page.top < heard and page.top.epoch == heard.epoch:
            feed.position = page.top
        connection = subscription.connection
        is_told = page.is_whole or connection.tell_gap(subscription.stream, page.start)
        if not is_told and not page.is_refused and page.top.epoch == before.epoch:
            # With another epoch, or a forged message, nothing need be missing, and everybody would come back at once.
            connection.close(CloseCode.POSITION_LOST, "messages were lost")
        self._read(feed, subscription, page)

    def is_behind(self, subscription: Subscription) -> bool:
        connection, feed = subscription.connection, self._feeds.get(subscription.stream)
        is_known = feed is not None and feed.behind.get(connection.id) is subscription
        return is_known and connection.closing is None and subscription.position is not None

    def _give(self, feed: Feed, live: tuple[Subscription, ...], order: Message) -> None:
        give_order(live, order)
        if order.kind is not Kind.JOIN:
            self._obey_at_once(feed, order)

    def _obey_at_once(self, feed: Feed, order: Message) -> None:
        """
        Have those that are behind obey an order that ends something, and once more when they have read so far: a client
        that reads slowly would stay in a topic, or signed in, for as long as it likes.
        """
        for subscription in tuple(feed.behind.values()):
            if subscription.position is not None and subscription.connection.is_meant(order):
                subscription.connection.obey(order)

    def _heard(self, feed: Feed, position: Position) -> None:
        before = feed.position
        if before is not None and before.epoch == position.epoch and before.offset >= position.offset:
            return
        feed.position = position
        fallen, feed.live = feed.live, {}
        feed.behind |= fallen
        if fallen:
            note_behind(fallen, position)
        for subscription in fallen.values():
            subscription.position = before
            self._on_behind(subscription)

    def _read(self, feed: Feed, subscription: Subscription, page: Missed) -> None:
        connection = subscription.connection
        for entry in page.entries:
            connection.offer_entry(subscription, entry)
        if spans.tracer is not None and page.entries:
            tracing.note_recovered(spans.tracer, subscription, page)
        subscription.position = page.reached
        self._heard(feed, page.top)
        is_level = subscription.position == feed.position
        if page.entries:
            note_recovered(subscription, page.entries, is_level=is_level)
        if is_level and connection.has_room:
            if feed.behind.pop(connection.id, None) is subscription:
                feed.live[connection.id] = subscription
        else:
            self._on_behind(subscription)
