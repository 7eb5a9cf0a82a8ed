"""
What a connection is subscribed to: in Redis, where it counts, and in the hub, where messages come to it. (Over 250
lines: each step waits, and has to look again at what may have changed meanwhile.)
"""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

from qrsocket.errors import CloseCode, SocketError, Unavailable
from qrsocket.logger import Logger
from qrsocket.patient_timeout import PatientTimeout
from qrsocket.position import Position
from qrsocket.presence.registry import Registration
from qrsocket.server.connection import Connection
from qrsocket.server.failing import TRY_AGAIN
from qrsocket.server.jobs import JobQueries
from qrsocket.server.joining import Joining
from qrsocket.server.recovered import page_of, shown, shown_again
from qrsocket.server.runtime import Node
from qrsocket.server.wire import PLAIN, Json
from qrsocket.streams import EVERYONE, Stream, of_topic, topic_of, user_of
from qrsocket.topics import MAX_TOPICS

logger = Logger(__name__)

TOO_MANY = f"A connection joins at most {MAX_TOPICS} topics"


class Subscriptions:
    """
    Attributes:
        is_open: From when the first are asked for until all are given up.
    """

    def __init__(self, connection: Connection, node: Node, joining: Joining) -> None:
        self.is_open = False
        self._connection, self._node, self._joining = connection, node, joining
        self._from_the_start: list[str] = []  # topics that the application has it join before it is open
        self._turn = asyncio.Lock()
        self._orders = 0  # that are yet to be obeyed

    async def open(self, since: Position | None = None, topics: Mapping[str, Position] | None = None) -> None:
        """
        Subscribe it to what it gets without asking, and to the topics that its client comes back with; then tell the
        client that it is ready. Or close the connection, if that cannot be done.

        Args:
            since: Where the client was in what is sent to its user.
            topics: Where it was in topics.
        """
        self.is_open = True
        async with self._turn:  # from now on others may want it to join topics
            await self._open(since, topics or {})

    async def _open(self, since: Position | None, topics: Mapping[str, Position]) -> None:
        connection = self._connection
        mine = connection.stream
        positions = {of_topic(topic): position for topic, position in topics.items()}
        if since is not None and mine != connection.own_stream:  # one without a user is another each time
            positions[mine] = since
        self._node.hub.add(connection)
        answered = await self._subscribe_all(dict.fromkeys((connection.own_stream, EVERYONE, mine)), positions)
        if answered is None:
            return
        known = [topic for stream in positions if (topic := topic_of(stream)) and topic != EVERYONE]
        wanted = [topic for topic in known if topic not in self._from_the_start]
        room = MAX_TOPICS - len(self._from_the_start)
        # Asked now that orders come to it: who is put out of a topic after he was let in must not stay in.
        refused = await self._joining.refused(wanted[:room])
        if refused is None:
            connection.close(CloseCode.INTERNAL_ERROR, TRY_AGAIN.lower())
            return
        refused |= dict.fromkeys(wanted[room:], TOO_MANY)
        joined = [topic for topic in wanted if topic not in refused]
        if connection.closing is not None:
            return
        # Topics come after the user: who is refused is to be seen by no member.
        if coming := [*self._from_the_start, *joined]:
            more = await self._subscribe_all(map(of_topic, coming), positions)
            if more is None:
                return
            answered = answered.with_those_of(more)
        await self._be_ready(mine, answered, (EVERYONE, *self._from_the_start, *joined), refused)

    async def _subscribe_all(
        self, streams: Iterable[Stream], positions: Mapping[Stream, Position]
    ) -> Registration | None:
        parts = [part for stream in streams for part in self._subscribe(stream)]
        return await self._register(parts, {one: positions[one] for one in parts if one in positions})

    async def add_user(self) -> None:
        """Subscribe it to what is sent to its user, who has just become known, and tell the client."""
        async with self._turn:
            hub, connection = self._node.hub, self._connection
            if not self.is_open or connection.closing is not None:
                return
            answered = await self._register(self._subscribe(connection.stream), {})
            if answered is None:
                return
            parts = [part for one in connection.subscriptions.values() if (part := hub.add_member(one))]
            if not parts or await self._register(parts, {}) is not None:
                await self._be_ready(connection.stream, answered, (), {})

    async def join(
        self, topic: str, since: Position | None = None, *, is_asked: bool, request: str | None = None
    ) -> int:
        """
        Have it join *topic*, and tell the client, in so many bytes.

        Args:
            is_asked: By the client, which the application may refuse; otherwise the application wants it.

        Raises:
            SocketError: It may not.
            Unavailable: Redis did not answer.
        """
        connection = self._connection
        if not self.is_open and not is_asked:
            if topic not in self._from_the_start:
                if len(self._from_the_start) >= MAX_TOPICS:
                    raise SocketError(TOO_MANY)
                self._from_the_start.append(topic)
            return 0
        async with self._turn:
            if (stream := of_topic(topic)) in connection.subscriptions:
                position = self._node.hub.position_of(connection.subscriptions[stream])
                return self._tell_joined(topic, shown_again(position, since), request)
            if sum(topic_of(one) is not None for one in connection.subscriptions) > MAX_TOPICS:
                raise SocketError(TOO_MANY)
            if is_asked:
                await self._joining.check(topic)
            if not self.is_open or connection.closing is not None:
                return 0
            streams = self._subscribe(stream)
            try:
                answered = await self._node.keeper.register(streams, {} if since is None else {stream: since})
                await self._know_members(topic)
            except BaseException:  # a handler that has run out of time, too: it has not joined, and nobody was told so
                self._node.keeper.doubt(self._node.hub.unsubscribe(connection, stream))
                raise
            if stream not in connection.subscriptions or connection.closing is not None:
                return 0
            page = page_of(connection, answered, stream)
            size_bytes = self._tell_joined(topic, shown(connection, stream, page, since), request)
            self._node.hub.begin(connection.subscriptions[stream], page)
            return size_bytes

    def obey(self, topic: str, *, is_join: bool) -> Coroutine[Any, Any, None]:
        """
        Have it join or leave *topic*, since somebody somewhere wants it. Returns what remains to be done.

        It leaves at once, so that nothing comes to it which is sent after that; unless it has yet to obey what came
        before.
        """
        is_member = of_topic(topic) in self._connection.subscriptions
        if not is_join and is_member and not self._orders and not self._turn.locked():
            return self._tell_redis(self._unsubscribe(topic, "removed"))
        self._orders += 1
        return self._obey(topic, is_join=is_join)

    async def _obey(self, topic: str, *, is_join: bool) -> None:
        try:
            if is_join:
                await self.join(topic, is_asked=False)
            elif of_topic(topic) in self._connection.subscriptions or self._turn.locked():
                await self.leave(topic, "removed")
        except (SocketError, Unavailable) as error:
            # Its text is for who asked, who is not here: of an order nobody else learns that it failed.
            logger.warning("order not obeyed", **self._connection.facts, topic=topic, error=type(error).__name__)
        finally:
            self._orders -= 1

    async def leave(self, topic: str, why: str, request: str | None = None) -> None:
        """Have it leave *topic*, and tell the client; nothing more of it comes after that."""
        if not self.is_open:
            self._from_the_start = [one for one in self._from_the_start if one != topic]
            return
        async with self._turn:
            await self._tell_redis(self._unsubscribe(topic, why, request))

    def _unsubscribe(self, topic: str, why: str, request: str | None = None) -> tuple[Stream, ...]:
        left = self._node.hub.unsubscribe(self._connection, of_topic(topic))
        self._connection.drop_newest_of(of_topic(topic))
        told = {"topic": topic, "why": why} | ({} if request is None else {"request": request})
        self._connection.tell("left", **told)
        if left:
            self._joining.left(topic)
        return left

    async def _tell_redis(self, left: tuple[Stream, ...]) -> None:
        if left:
            with suppress(Unavailable):  # the node tells Redis when it is back
                await self._node.keeper.register(left)

    async def close(self) -> None:
        """Give all up; where there are none, nothing happens."""
        if not self.is_open:
            return
        self.is_open = False
        topics = [topic for one in self._connection.subscriptions if (topic := topic_of(one)) and topic != EVERYONE]
        left = self._node.hub.remove(self._connection)
        for topic in topics:
            self._joining.left(topic)
        if left:
            with suppress(Unavailable):
                await self._node.keeper.register(left)

    def _subscribe(self, stream: Stream) -> list[Stream]:
        """Subscribe it in the hub, and return what Redis is to be told of."""
        topic = topic_of(stream)
        members = topic is not None and self._joining.has_members(topic)
        subscription = self._node.hub.subscribe(self._connection, stream, members=members)
        return [stream] if subscription.member is None else [stream, subscription.member]

    async def _register(self, streams: Iterable[Stream], since: Mapping[Stream, Position]) -> Registration | None:
        """Tell Redis; None if the connection is closing, for this or for another reason."""
        connection = self._connection
        try:
            answered = await self._node.keeper.register(streams, since)
            while connection.closing is None and connection.stream in answered.revoked:
                # It was another one's proof. He is out now.
                answered = await self._node.keeper.register(streams, since)
        except Unavailable:
            connection.close(CloseCode.OVERLOADED, TRY_AGAIN.lower())
            return None
        is_refused = connection.stream in answered.streams and connection.stream not in answered.attached
        if is_refused and connection.closing is None:
            connection.close(CloseCode.TOO_MANY_CONNECTIONS, "too many connections of this user")
            # At once, or those of the same user who wait for their turn would be too many with it. A renewal may have
            # told of it meanwhile.
            self._node.keeper.doubt(self._node.hub.unsubscribe(connection, connection.stream))
        return answered if connection.closing is None else None

    async def _be_ready(
        self, mine: Stream, answered: Registration, topics: Iterable[str], refused: Mapping[str, str]
    ) -> None:
        connection, hub = self._connection, self._node.hub
        for stream, attached in answered.attached.items():
            hub.states.begin_jobs(stream, attached.jobs_top)
        try:
            # After it is registered, so that whatever happens to them from now on is told.
            jobs = await self._jobs()
            for topic in topics:
                await self._know_members(topic)
        except Unavailable:
            connection.close(CloseCode.OVERLOADED, TRY_AGAIN.lower())
            return
        if connection.closing is not None:
            return
        about: dict[str, Any] = {
            "connection": connection.id,
            "user": user_of(mine),
            **shown(connection, mine, page_of(connection, answered, mine), answered.since.get(mine)),
            "jobs": jobs,
            "topics": {topic: {"error": text} for topic, text in refused.items()},
        }
        for topic in topics:
            stream = of_topic(topic)
            start = shown(connection, stream, page_of(connection, answered, stream), answered.since.get(stream))
            about["topics"][topic] = start | self._members(topic)
        connection.tell_registered("ready", **about)
        for stream in answered.streams:
            if subscription := connection.subscriptions.get(stream):
                hub.begin(subscription, page_of(connection, answered, stream))

    async def _jobs(self) -> list[dict[str, Any]]:
        if self._connection.user is None or self._connection.wire is PLAIN:
            return []  # it has none, or cannot be told
        return await JobQueries(self._node, self._connection.stream).listed()

    async def _know_members(self, topic: str) -> None:
        """
        Raises:
            Unavailable: Redis did not tell them in time.
        """
        members, seconds = self._node.hub.states.members(topic), self._node.settings.redis_timeout
        if members is not None and members.position is None:
            try:
                async with PatientTimeout(seconds):
                    await self._node.read_members(topic)
            except TimeoutError as error:
                raise Unavailable("members not read", seconds) from error

    def _members(self, topic: str) -> dict[str, Any]:
        members = self._node.hub.states.members(topic)
        return {} if members is None else {"members": Json(members.listed(self._connection.user))}

    def _tell_joined(self, topic: str, position: dict[str, Any], request: str | None) -> int:
        asked = {} if request is None else {"request": request}
        return self._connection.tell_registered("joined", topic=topic, **position, **self._members(topic), **asked)
