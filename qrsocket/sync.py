"""The same verbs, blocking: for Celery tasks, `def` endpoints and scripts."""

from qrsocket.message import Delivery
from qrsocket.sender import BlockingSocket as Socket
from qrsocket.users import User

__all__ = ["Delivery", "Socket", "User", "socket"]

socket: Socket = Socket()
