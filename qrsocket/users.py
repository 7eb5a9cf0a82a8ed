"""Users, by their ids."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Protocol, TypeAlias, cast
from uuid import UUID

from qrsocket.errors import InvalidUserId, TooManyRecipients

MAX_RECIPIENTS = 10_000
MAX_ID_BYTES = 256


class HasId(Protocol):
    """Anything with an id: a User, a row of an ORM, a Pydantic model."""

    @property
    def id(self) -> Any: ...


UserLike: TypeAlias = str | int | UUID | HasId


@dataclass(frozen=True, slots=True)
class User:
    """
    Someone who was authenticated. Only the id is known from then on.

    Attributes:
        expires_at: When the token or session expires: Unix time in seconds, or an aware datetime. Then the connection
            is closed with 4001, unless its client has renewed the token.
        issued_at: When the token was issued, or the session began, in the same form. After
            `socket.to(user).revoke()` only later ones are accepted. None: unknown, so none is accepted until the
            revocation ends.
    """

    id: str
    expires_at: float | datetime | None = field(default=None, compare=False)
    issued_at: float | datetime | None = field(default=None, compare=False)

    @property
    def expires(self) -> float | None:
        """Unix time in seconds; None if it holds as long as the connection."""
        return _unix_time(self.expires_at)

    @property
    def issued(self) -> float:
        """Unix time in seconds; 0 if it is not known: then it may have been at any time."""
        return _unix_time(self.issued_at) or 0.0

    def __post_init__(self) -> None:
        for name in ("expires_at", "issued_at"):
            value = getattr(self, name)
            if isinstance(value, datetime) and value.tzinfo is None:
                raise ValueError(f"{name} is an aware datetime, or Unix time in seconds: datetime.now(UTC) + …")


def _unix_time(value: float | datetime | None) -> float | None:
    return value.timestamp() if isinstance(value, datetime) else value


def user_id(user: UserLike) -> str:
    """
    Return the id of *user* as text: 42, "42" and an object whose `.id` is 42 are the same user.

    Raises:
        InvalidUserId: Not a str, int, UUID or an object with such an `.id`; empty, over 256 bytes of UTF-8, or with
            control characters.
    """
    value = user if isinstance(user, str | int | UUID) else getattr(user, "id", None)
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        raise InvalidUserId(f"a user is a str, int, UUID or an object with such an .id, not {type(user).__name__}")
    text = str(value)
    if not text or any(character < " " or character == "\x7f" for character in text):
        raise InvalidUserId("a user id must not be empty or hold control characters")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidUserId("a user id must not hold half a surrogate pair") from None
    if size > MAX_ID_BYTES:
        raise InvalidUserId(f"a user id is at most {MAX_ID_BYTES} bytes of UTF-8")
    return text


def user_ids(users: UserLike | Iterable[UserLike]) -> tuple[str, ...]:
    """
    Return the ids of one user or many, each once, in order.

    Raises:
        InvalidUserId: See `user_id`.
        TooManyRecipients: More than 10 000 different users.
    """
    if isinstance(users, str | bytes | bytearray | memoryview) or hasattr(users, "id"):
        return (user_id(cast(UserLike, users)),)
    if not isinstance(users, Iterable) or isinstance(users, Mapping):  # {"id": "alice"} would be a user named "id"
        return (user_id(cast(UserLike, users)),)
    ids: dict[str, None] = {}
    for user in users:
        ids[user_id(user)] = None
        if len(ids) > MAX_RECIPIENTS:
            raise TooManyRecipients(MAX_RECIPIENTS)
    return tuple(ids)
