"""What can go wrong, for callers and for clients, and why a connection was closed."""

from enum import IntEnum


class CloseCode(IntEnum):
    """
    Why a connection was closed. What our client does then goes by range: see docs/protocol.md.

    4000 to 4199 are this library's; 4200 to 4499 are the application's, and clients come back; 4500 to 4999 are the
    application's, and clients stay away.

    Source: RFC 6455, section 7.4.2 (4000 to 4999 are for applications)
    """

    NORMAL = 1000
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTART = 1012
    OVERLOADED = 1013

    SLOW_CONSUMER = 4000
    TOKEN_EXPIRED = 4001
    POSITION_LOST = 4004

    NOT_AUTHENTICATED = 4100
    REVOKED = 4101
    TOO_MANY_CONNECTIONS = 4103
    ABUSE = 4104


class QRSocketError(Exception):
    """Base of every error that this library raises on purpose."""


class SocketError(QRSocketError):
    """
    Raise it in a handler to answer the client with this text; the connection lives on.

    Unlike the text of any other exception, *message* is shown to the client as it is.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidToken(SocketError):
    """Raised for an invalid token. The client sees only the text; the reason is in `__cause__`."""

    def __init__(self, message: str = "Invalid token") -> None:
        super().__init__(message)


class TokenExpired(InvalidToken):
    """Raised for a token that has expired: the connection is closed with 4001, and may come back with another."""

    def __init__(self, message: str = "Token expired") -> None:
        super().__init__(message)


class NoRecipient(QRSocketError):
    """Raised if there is no recipient: `to()` names nobody, or there is no current user or connection to send to."""

    def __str__(self) -> str:
        return (
            "nobody to send to: there is no current user or connection here. Name the recipient with "
            "socket.to(user_id), or authenticate the request with `await authenticated(user)`"
        )


class TooManyRecipients(QRSocketError):
    """Raised when one call names more recipients than a call may."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"more than {self.limit} recipients in one call: send to them in batches of {self.limit}"


class InvalidUserId(QRSocketError, ValueError):
    """Raised for something that cannot name a user: not str, int, UUID or an object with `.id`; empty, long, or odd."""


class InvalidTopic(QRSocketError, ValueError):
    """Raised for something that cannot name a topic."""


class NoConnection(QRSocketError):
    """Raised by `reply`, `join` and `leave` if there is no current connection."""

    def __str__(self) -> str:
        return (
            "there is no current connection here. In HTTP the page sends it in a header (use `socket.fetch` or "
            "`socket.headers`), a job has the connection that it was queued from, and a schedule has none"
        )


class NotSerializable(QRSocketError, TypeError):
    """Raised when a message cannot be written as a JSON document that every browser reads."""


class InvalidJson(QRSocketError, ValueError):
    """Raised when what a client sent is not a JSON document that we take. The text is safe to show."""


class MessageTooLarge(QRSocketError):
    """Raised when the encoded message is over the limit."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(size_bytes, limit_bytes)
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes

    def __str__(self) -> str:
        return (
            f"a message of {self.size_bytes} bytes is over the limit of {self.limit_bytes}: send a link to it "
            "instead, or raise QRSOCKET_MAX_MESSAGE_OUT_BYTES"
        )


class Unavailable(QRSocketError):
    """
    Raised when Redis did not answer in time, or accepts no messages, for example because it is full or a replica.

    The message may or may not have been delivered.
    """

    def __init__(self, cause: str, timeout: float) -> None:
        super().__init__(cause, timeout)
        self.cause, self.timeout = cause, timeout

    def __str__(self) -> str:
        return f"Redis did not take it within {self.timeout:g} s ({self.cause}); `qrsocket doctor` says where it fails"


class HandlerTimeout(QRSocketError):
    """Raised when a handler did not finish in time."""

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout)
        self.timeout = timeout

    def __str__(self) -> str:
        return f"Timeout: no answer within {self.timeout:g} s"


class NotAuthenticated(QRSocketError):
    """Raised when a connection that has a user is given another: the connection is closed with 4100."""

    def __str__(self) -> str:
        return "this connection belongs to another user already"
