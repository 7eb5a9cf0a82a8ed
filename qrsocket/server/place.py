"""A connection's place: in Redis, where it counts as open, and in the hub, where it is sent to."""

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from qrsocket import audience
from qrsocket.audience import Audience
from qrsocket.errors import CloseCode, Unavailable
from qrsocket.position import Missed, Position
from qrsocket.presence.table import Attach
from qrsocket.server.connection import Connection
from qrsocket.server.jobs import JobDesk
from qrsocket.server.runtime import Node
from qrsocket.server.wire import PLAIN


class Place:
    """
    Attributes:
        is_taken: From when it is asked for until it is given up.
    """

    def __init__(self, connection: Connection, node: Node) -> None:
        self.is_taken = False
        self._connection, self._node = connection, node

    async def take(self, user: str | None, since: Position | None = None) -> None:
        """
        Take it, and tell the client that it is ready; or close the connection, if there is none to be had.

        Args:
            user: Whose connection it is.
            since: Where a client that comes back is.
        """
        connection = self._connection
        self._node.hub.add(connection)
        self.is_taken = True
        try:
            placed = await self._node.keeper.settle(connection.audience, since)
            # After it has its place, so that whatever happens to them from now on is told.
            jobs = await self._jobs() if user is not None else []
        except Unavailable:
            connection.close(CloseCode.OVERLOADED, "try again later")
        else:
            if placed.status is Attach.LIMIT:
                connection.close(CloseCode.TOO_MANY_CONNECTIONS, "too many connections of this user")
            elif placed.missed is not None and connection.closing is None:
                self._begin(user, placed.missed, since, jobs)
        if connection.closing is not None:
            self._node.hub.remove(connection)

    def move(self, user: str) -> Coroutine[Any, Any, None]:
        """Have it moved to *user*, whose messages come at once; the rest is done when what this returns is awaited."""
        before = self._connection.audience
        self._node.keeper.doubt(before)
        self._node.hub.move(self._connection, audience.of_user(user))
        return self._take_and_leave(user, before)

    async def give_up(self) -> None:
        """Give it up; without one, nothing happens."""
        if not self.is_taken:
            return
        self.is_taken = False
        self._node.hub.remove(self._connection)
        with suppress(Unavailable):  # the node tells Redis when it is back
            await self._node.keeper.settle(self._connection.audience)

    async def _take_and_leave(self, user: str, before: Audience) -> None:
        await self.take(user)
        with suppress(Unavailable):
            await self._node.keeper.settle(before)

    async def _jobs(self) -> list[dict[str, Any]]:
        if self._connection.wire is PLAIN:
            return []  # it cannot be told
        return await JobDesk(self._node, self._connection.audience).listed()

    def _begin(self, user: str | None, missed: Missed, since: Position | None, jobs: list[dict[str, Any]]) -> None:
        is_recovered = since is not None and missed.is_whole
        start = since if since is not None and is_recovered else missed.start
        about = {"connection": self._connection.id, "user": user, "recovered": is_recovered}
        self._connection.tell_ready(**about, **start._asdict(), jobs=jobs)
        self._node.hub.begin(self._connection, missed)
