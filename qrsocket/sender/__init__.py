"""From whoever says `socket.send(...)` to Redis."""

from qrsocket.sender.asynchronous import Socket, revoke
from qrsocket.sender.blocking import BlockingSocket
from qrsocket.sender.blocking import revoke as blocking_revoke

__all__ = ["BlockingSocket", "Socket", "blocking_revoke", "revoke"]
