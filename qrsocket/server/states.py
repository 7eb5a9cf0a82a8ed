"""The states that this node's connections are told of: jobs of those who own them, members of topics."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import from_json

from qrsocket.fanout.publish import Envelope
from qrsocket.message import Kind, Message
from qrsocket.position import Position
from qrsocket.presence.answers import Members as Read
from qrsocket.server.offering import offer, offer_control, offer_jobs
from qrsocket.server.state import Members, State
from qrsocket.server.subscription import Feed
from qrsocket.streams import Stream, of_jobs, of_members, of_topic, topic_of

# Kinds of envelopes that tell a change.
STATES = frozenset((Kind.JOB, Kind.MEMBERS))
# Kinds that tell how far a job is, and what it writes.
PASSING = frozenset((Kind.PROGRESS, Kind.CHUNK))


class States:
    def __init__(
        self, feeds: Mapping[Stream, Feed], on_stale: Callable[[Stream], None], on_members: Callable[[], None]
    ) -> None:
        """
        Args:
            feeds: Of the node, by stream.
            on_stale: Gets a stream whose state is to be read anew, for `take_jobs` or `take_members`; must not block.
            on_members: Called when members of a topic have come or gone, for `tell_members`; must not block.
        """
        self._feeds, self._on_stale, self._on_members = feeds, on_stale, on_members
        self._jobs: dict[Stream, State] = {}
        self._members: dict[Stream, Members] = {}

    def begin(self, stream: Stream, *, members: bool) -> None:
        """A connection of this node is subscribed to *stream* now. Members: of a topic whose members are told."""
        topic = topic_of(stream)
        if topic is None:
            self._jobs.setdefault(of_jobs(stream), State())
        elif members:
            self._members.setdefault(of_members(topic), Members())

    def end(self, stream: Stream) -> None:
        """No connection of this node is subscribed to *stream* any more."""
        self._jobs.pop(of_jobs(stream), None)
        self._members.pop(of_members(topic_of(stream) or ""), None)

    @property
    def counted(self) -> tuple[Stream, ...]:
        """All that this node may have missed a change of."""
        return (*(name for name, state in self._jobs.items() if state.position), *self._members)

    def compare(self, stream: Stream, position: Position) -> None:
        """Learn that there was a change at *position*. If it did not come, it was missed."""
        if state := self._jobs.get(stream) or self._members.get(stream):
            state.compare(position)
            if state.is_stale:
                self._on_stale(stream)

    def is_stale(self, stream: Stream) -> bool:
        state = self._jobs.get(stream) or self._members.get(stream)
        return state is not None and state.is_stale

    def begin_jobs(self, stream: Stream, position: Position) -> None:
        """Learn where the jobs of whose stream it is are, before they are read for somebody who has just come."""
        state = self._jobs.get(of_jobs(stream))
        if state is not None and state.position is None:
            state.read(position)

    def reread_jobs(self, stream: Stream, position: Position) -> None:
        """The jobs at *stream* are read now, for `take_jobs`; they are at *position*, or newer."""
        if state := self._jobs.get(stream):
            state.read(position)

    def doubt_jobs(self, stream: Stream) -> None:
        """The jobs at *stream* could not be read."""
        if state := self._jobs.get(stream):
            state.is_stale = True

    def take_jobs(self, owner: Stream, jobs: list[dict[str, Any]]) -> None:
        """Tell all connections of *owner* what the jobs are."""
        if feed := self._feeds.get(owner):
            for subscription in feed.begun:
                connection = subscription.connection
                if not connection.tell("jobs", jobs=jobs):
                    offer_jobs(connection, jobs)

    def members(self, topic: str) -> Members | None:
        """Return who has joined *topic*, where that is told; None where it is not, or nobody here has joined."""
        return self._members.get(of_members(topic))

    def reading_members(self, stream: Stream) -> None:
        """Who has joined a topic is read now, for `take_members`: what is heard meanwhile may not be in it."""
        if members := self._members.get(stream):
            members.begin_reading()

    def take_members(self, stream: Stream, read: Read) -> None:
        """Learn who has joined a topic."""
        if members := self._members.get(stream):
            members.read(read.version)
            members.is_stale |= not read.is_certain
            members.replace(read.users, is_certain=read.is_certain)
            self._on_members()
            if members.is_stale:
                self._on_stale(stream)

    def tell_members(self) -> None:
        """Tell those who have joined topics who has come and who has gone."""
        for name, members in tuple(self._members.items()):
            topic = name[2:]
            joined, left = members.take_untold()
            if joined or left:
                told = {"topic": topic, "joined": joined, "left": left}
                offer_control(self._feeds[of_topic(topic)].begun, "members", told)

    def deliver(self, stream: Stream, position: Position, envelope: Envelope) -> None:
        """Learn of the change at *position*, and tell it."""
        if envelope.message.kind is Kind.JOB:
            self._tell_job(stream, position, envelope)
        else:
            self._change_members(stream, position, envelope.message)

    def _tell_job(self, stream: Stream, position: Position, envelope: Envelope) -> None:
        state, feed = self._jobs.get(stream), self._feeds.get(stream[2:])
        if state is None or feed is None:
            return
        if not state.heard(position) and state.is_stale:
            self._on_stale(stream)
        for subscription in feed.begun:
            subscription.connection.drop_newest(envelope.message_id)
        offer(feed.begun, stream, None, envelope.message)

    def _change_members(self, stream: Stream, position: Position, message: Message) -> None:
        members = self._members.get(stream)
        if members is None:
            return
        if members.heard(position):
            said = from_json(message.payload)
            members.change(said.get("joined", []), said.get("left", []))
            self._on_members()
        elif members.is_stale:
            self._on_stale(stream)
