"""From whoever says `socket.send(...)` to Redis."""

from qrsocket.sender.asynchronous import Socket
from qrsocket.sender.blocking import BlockingSocket

__all__ = ["BlockingSocket", "Socket"]
