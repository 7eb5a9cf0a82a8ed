"""
Push to your users from anywhere in a FastAPI and Celery application.

Names for async code are here, those for blocking code in `qrsocket.sync`, those of the web side in `qrsocket.server`,
those of the Celery side in `qrsocket.celery`.
"""

from qrsocket.audience import User
from qrsocket.context import authenticated
from qrsocket.errors import (
    CloseCode,
    InvalidUserId,
    MessageTooLarge,
    NoRecipient,
    NotAuthenticated,
    NotSerializable,
    QRSocketError,
    SocketError,
    TooManyRecipients,
    Unavailable,
)
from qrsocket.message import Delivery
from qrsocket.sender import Socket
from qrsocket.settings import Settings

__all__ = [
    "CloseCode",
    "Delivery",
    "InvalidUserId",
    "MessageTooLarge",
    "NoRecipient",
    "NotAuthenticated",
    "NotSerializable",
    "QRSocketError",
    "Settings",
    "Socket",
    "SocketError",
    "TooManyRecipients",
    "Unavailable",
    "User",
    "authenticated",
    "socket",
]

socket: Socket = Socket()
