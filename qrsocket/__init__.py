"""
Push to your users from anywhere in a FastAPI and Celery application.

Names for async code are here, those for blocking code in `qrsocket.sync`, those of the web side in `qrsocket.server`,
those of the Celery side in `qrsocket.celery`.
"""

from qrsocket.context import authenticated
from qrsocket.errors import (
    CloseCode,
    InvalidToken,
    InvalidTopic,
    InvalidUserId,
    MessageTooLarge,
    NoConnection,
    NoRecipient,
    NotAuthenticated,
    NotSerializable,
    QRSocketError,
    SocketError,
    TokenExpired,
    TooManyRecipients,
    Unavailable,
)
from qrsocket.message import Delivery
from qrsocket.sender import Socket, revoke
from qrsocket.settings import Settings
from qrsocket.users import User

__all__ = [
    "CloseCode",
    "Delivery",
    "InvalidToken",
    "InvalidTopic",
    "InvalidUserId",
    "MessageTooLarge",
    "NoConnection",
    "NoRecipient",
    "NotAuthenticated",
    "NotSerializable",
    "QRSocketError",
    "Settings",
    "Socket",
    "SocketError",
    "TokenExpired",
    "TooManyRecipients",
    "Unavailable",
    "User",
    "authenticated",
    "revoke",
    "socket",
]

socket: Socket = Socket()
