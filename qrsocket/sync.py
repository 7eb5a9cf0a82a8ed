"""The same verbs, blocking: for Celery tasks, `def` endpoints and scripts."""

from qrsocket.message import Delivery
from qrsocket.sender import BlockingSocket as Socket
from qrsocket.sender import blocking_revoke as revoke
from qrsocket.users import User

__all__ = ["Delivery", "Socket", "User", "revoke", "socket"]

socket: Socket = Socket()
