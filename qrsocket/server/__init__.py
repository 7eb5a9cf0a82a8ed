"""The web side: a router for FastAPI whose connections receive what is sent to their users."""

from qrsocket.server.handshake import Subprotocols
from qrsocket.server.inbound import SocketRequest
from qrsocket.server.router import SocketRouter

__all__ = ["SocketRequest", "SocketRouter", "Subprotocols"]
