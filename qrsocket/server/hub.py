"""The connections open in this process, by audience. Knows nothing of Redis or of other processes."""

from collections.abc import Iterable, Iterator
from typing import Any

from qrsocket.audience import Audience
from qrsocket.fanout.publish import Frame
from qrsocket.message import Close, Kind
from qrsocket.server.connection import Connection


class Hub:
    """
    Attributes:
        total: How many connections are open.
    """

    def __init__(self) -> None:
        self.total = 0
        self._by_audience: dict[Audience, dict[str, Connection]] = {}

    def add(self, connection: Connection) -> None:
        self._by_audience.setdefault(connection.audience, {})[connection.id] = connection
        self.total += 1

    def remove(self, connection: Connection) -> None:
        """Forget *connection*; if it is not known, nothing happens."""
        connections = self._by_audience.get(connection.audience, {})
        if connections.pop(connection.id, None) is not None:
            self.total -= 1
        if not connections:
            self._by_audience.pop(connection.audience, None)

    def count(self, audience: Audience) -> int:
        return len(self._by_audience.get(audience, ()))

    @property
    def audiences(self) -> tuple[Audience, ...]:
        return tuple(self._by_audience)

    def __iter__(self) -> Iterator[Connection]:
        for connections in tuple(self._by_audience.values()):
            yield from tuple(connections.values())

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
        for connection in self:
            connection.close(code, reason)

    def _close(self, order: Close, audiences: Iterable[Audience]) -> None:
        for connection in self._of(audiences):
            if order.connection in ("", connection.id):
                connection.close(order.code, order.reason)

    def _of(self, audiences: Iterable[Audience]) -> Iterator[Connection]:
        for audience in audiences:
            # Copied: offering may close a connection, and its end removes it.
            yield from tuple(self._by_audience.get(audience, {}).values())
