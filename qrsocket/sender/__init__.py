"""From whoever says `socket.send(...)` to Redis."""

from qrsocket.sender.verbs import BlockingSocket, Socket

__all__ = ["BlockingSocket", "Socket"]
