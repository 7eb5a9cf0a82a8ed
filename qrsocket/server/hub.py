"""The connections open in this process, by audience. Knows nothing of Redis or of other processes."""

from collections.abc import Iterable, Iterator
from typing import Any

from qrsocket.audience import Audience, of_connection
from qrsocket.fanout.publish import Frame
from qrsocket.message import Close, Kind
from qrsocket.server.connection import Connection


class Hub:
    def __init__(self) -> None:
        self._by_audience: dict[Audience, dict[str, Connection]] = {}
        # What was sent to a connection before it had a user may still be on its way when it has one.
        self._by_own_audience: dict[Audience, Connection] = {}

    def add(self, connection: Connection) -> None:
        """Let *connection* receive what is sent to its audience."""
        self._by_own_audience[of_connection(connection.id)] = connection
        self._by_audience.setdefault(connection.audience, {})[connection.id] = connection

    def move(self, connection: Connection, audience: Audience) -> None:
        """Make *connection* one of *audience*; it still receives what is sent to itself."""
        self.remove(connection)
        connection.audience = audience
        self.add(connection)

    def remove(self, connection: Connection) -> None:
        """Forget *connection*; if it is not known, nothing happens."""
        self._by_own_audience.pop(of_connection(connection.id), None)
        connections = self._by_audience.get(connection.audience, {})
        connections.pop(connection.id, None)
        if not connections:
            self._by_audience.pop(connection.audience, None)

    def count(self, audience: Audience) -> int:
        return len(self._by_audience.get(audience, ()))

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._by_own_audience)

    @property
    def audiences(self) -> tuple[Audience, ...]:
        return tuple(self._by_audience)

    def deliver(self, frame: Frame) -> None:
        """Offer a frame to every open connection of its audiences."""
        match frame.kind:
            case Kind.TEXT:
                event: dict[str, Any] = {"type": "websocket.send", "text": frame.payload.decode()}
            case Kind.BINARY:
                event = {"type": "websocket.send", "bytes": frame.payload}
            case Kind.CLOSE:
                self._close(Close.from_payload(frame.payload), frame.audiences)
                return
            case _:
                return
        size_bytes = len(frame.payload)
        for connection in self._of(frame.audiences):
            connection.offer(event, size_bytes)

    def close_all(self, code: int, reason: str) -> None:
        for connection in tuple(self._by_own_audience.values()):
            connection.close(code, reason)

    def _close(self, order: Close, audiences: Iterable[Audience]) -> None:
        for connection in self._of(audiences):
            if order.connection in ("", connection.id):
                connection.close(order.code, order.reason)

    def _of(self, audiences: Iterable[Audience]) -> Iterator[Connection]:
        for audience in audiences:
            # Copied: offering may close a connection, and its end removes it.
            connections = tuple(self._by_audience.get(audience, {}).values())
            own = self._by_own_audience.get(audience)
            yield from connections or ((own,) if own else ())
