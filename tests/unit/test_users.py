"""Whom a message is for: what names a user, what does not, and how many may be named."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from qrsocket.errors import InvalidUserId, QRSocketError, TooManyRecipients
from qrsocket.streams import of_connection, of_user, user_of
from qrsocket.users import MAX_RECIPIENTS, User, user_id, user_ids


@dataclass
class Row:
    id: Any


class Team(str, Enum):  # noqa: UP042 - as most applications still write it
    RED = "red"


class Account(BaseModel):
    id: int


@pytest.mark.parametrize(
    ("user", "id"),
    [
        ("alice", "alice"),
        ("42", "42"),
        (42, "42"),
        (Team.RED, "red"),
        (0, "0"),
        (-7, "-7"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (User("alice"), "alice"),
        (Row(42), "42"),
        (Row(UUID(int=1)), "00000000-0000-0000-0000-000000000001"),
        (Account(id=42), "42"),
        ("u:alice", "u:alice"),
        ("a b", "a b"),
        ("李😀", "李😀"),
        ("x" * 256, "x" * 256),
        ("é" * 128, "é" * 128),
    ],
    ids=repr,
)
def test_a_user_is_named_by_its_id(user: Any, id: str) -> None:
    """
    A str, int, UUID and an object with such an `.id` name a user; 42, "42" and an object with id 42 the same one.
    """
    assert id == user_id(user)
    assert (id,) == user_ids(user)


@pytest.mark.parametrize(
    "user",
    [
        "",
        "a\nb",
        "a\tb",
        "\x00",
        "\x1f",
        "\x7f",
        "\ud800",
        "x" * 257,
        "é" * 128 + "x",
        True,
        False,
        None,
        1.0,
        b"alice",
        bytearray(b"alice"),
        memoryview(b"alice"),
        object(),
        {"id": "alice"},
        {},
        Row(None),
        Row(True),
        Row(1.5),
        Row(Row(1)),
        Row(""),
    ],
    ids=lambda user: ascii(user).partition(" at 0x")[0],  # the same in each process
)
def test_what_cannot_name_a_user_is_refused(user: Any) -> None:
    """
    Anything else raises InvalidUserId, a ValueError: empty, over 256 bytes, odd characters, bools, bytes, no id.
    """
    with pytest.raises(InvalidUserId) as refusal:
        user_id(user)
    with pytest.raises(InvalidUserId):
        user_ids(user)
    with pytest.raises(InvalidUserId):
        user_ids([user])

    assert isinstance(refusal.value, ValueError)
    assert isinstance(refusal.value, QRSocketError)


@pytest.mark.parametrize(
    "many",
    [["a", 2], ("a", 2), {"a": 1, 2: 1}.keys(), (user for user in ("a", 2))],
    ids=["list", "tuple", "view", "generator"],
)
def test_many_users_come_as_any_iterable(many: Any) -> None:
    """
    A list, a tuple, a view and a generator name many users, in order.
    """
    assert ("a", "2") == user_ids(many)


def test_each_user_counts_once() -> None:
    """
    A user named twice, also as another type, is one recipient.
    """
    assert ("1", "2") == user_ids([1, "1", User("1"), 2, Row(1)])


def test_nobody_is_an_empty_answer() -> None:
    """
    None named, none returned: the sender refuses that, `online` does not.
    """
    assert () == user_ids([])


def test_10_000_users_are_the_most() -> None:
    """
    10 000 different users pass; one more raises TooManyRecipients; repeated ones do not count.
    """
    most = range(MAX_RECIPIENTS)

    assert MAX_RECIPIENTS == 10_000 == len(user_ids([*most, *most]))
    with pytest.raises(TooManyRecipients, match="more than 10000 recipients") as refusal:
        user_ids(range(MAX_RECIPIENTS + 1))
    assert MAX_RECIPIENTS == refusal.value.limit


def test_an_endless_generator_is_left_at_the_limit() -> None:
    """
    Users are read up to the limit, not to the end.
    """
    read: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            read.append(len(read))
            yield read[-1]

    with pytest.raises(TooManyRecipients):
        user_ids(endless())
    assert MAX_RECIPIENTS + 1 == len(read)


def test_a_user_and_a_connection_never_meet() -> None:
    """
    A user whose id is that of a connection is another stream.
    """
    assert of_user("x") != of_connection("x")
    assert "c:x" == user_of(of_user("c:x"))
    assert user_of(of_connection("x")) is None


def test_a_user_is_one_until() -> None:
    """
    Until when an id holds is Unix time in seconds or an aware datetime of any zone; without it, as long as the
    connection.
    """
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    there = noon.astimezone(timezone(timedelta(hours=9)))

    assert [1767268800.0] * 3 == [User("alice", until).expires for until in (noon, there, noon.timestamp())]
    assert 7 == User("alice", expires_at=7).expires
    assert User("alice").expires is None


def test_a_datetime_without_a_zone_is_refused() -> None:
    """
    It would be another time on another machine.
    """
    with pytest.raises(ValueError, match="expires_at is an aware datetime, or Unix time in seconds"):
        User("alice", datetime(2026, 1, 1))


def test_users_are_the_same_by_their_ids() -> None:
    """
    Until when it holds makes nobody another user.
    """
    assert User("alice", 7) == User("alice") != User("bob", 7)
    assert 1 == len({User("alice", 7), User("alice")})
    assert ("alice",) == user_ids([User("alice", 7), User("alice", 8)])
