"""What a test says with a client, and what it is told when something else happens."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from qrsocket import CloseCode, socket
from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.testing import client
from tests.conftest import MS
from tests.testing import shops

SHORT = 50 * MS

pytestmark = pytest.mark.usefixtures("redis_server")


class Progress(BaseModel):
    done: int
    at: datetime | None = None


@dataclass
class Point:
    x: int
    y: int


class Online(TypedDict):
    online: list[str]


AT = datetime(2026, 1, 2, tzinfo=UTC)
EXPECTED: list[tuple[object, object, object]] = [
    ({"done": 3, "at": AT}, Progress, Progress(done=3, at=AT)),
    (Progress(done=3), Progress(done=3), {"done": 3, "at": None}),
    ({"x": 1, "y": 2}, Point, Point(1, 2)),
    (Point(1, 2), {"x": 1, "y": 2}, {"x": 1, "y": 2}),
    ({"online": ["alice"]}, Online, {"online": ["alice"]}),
    ([1, 2], tuple[int, int], (1, 2)),
    ([{"done": 1}, "x"], list[Progress | str], [Progress(done=1), "x"]),
    (7, Annotated[int, Field(gt=6)], 7),
    (7, Any, 7),
    ({"a": {1}}, {"a": {1}}, {"a": [1]}),
    ("hello", "hello", "hello"),
    ("hello", str, "hello"),
    ("42", "42", "42"),
    (42, 42, 42),
    ("42", str, "42"),
    ("[1", str, "[1"),
    ('"quoted"', '"quoted"', '"quoted"'),
    (b"\x00\xff", b"\x00\xff", b"\x00\xff"),
    (b"\x00\xff", bytes, b"\x00\xff"),
    (memoryview(b"ab"), bytearray(b"ab"), b"ab"),
    ({"n": 1}, lambda message: message["n"] == 1, {"n": 1}),
    ([None], [None], [None]),
]


@pytest.mark.parametrize(("sent", "expected", "received"), EXPECTED)
async def test_expected(sent: Any, expected: Any, received: object) -> None:
    """
    A message is what `send` was given, validated as a type, equal to a value, or accepted by a predicate.
    """
    async with client(shops.echo(), user="alice") as alice:
        await socket.to("alice").send(sent)

        assert received == await alice.receives(expected)


UNEXPECTED: list[tuple[object, object, str]] = [
    (
        {"done": "many"},
        Progress,
        r"expected a message that is a Progress, but this came\n  \{.*\}\ndone: .*valid integer",
    ),
    ({"done": 4}, Progress(done=3), r"expected the message Progress\(done=3.*\), but this came\n  \{\"done\":4\}\n\n"),
    ({"n": 1}, {"n": 2}, r"expected the message \{'n': 2\}, but this came\n  \{\"n\":1\}\n\n"),
    ({"n": 1, "m": 1}, {"n": 1}, "but this came"),
    ({"n": 1}, lambda message: message["m"] == 1, r"<lambda> accepts, but this came\n.*\nKeyError\('m'\)"),
    ({"n": 1}, lambda message: message["n"] == 2, "accepts, but this came"),
    (b"1", 1, "but this came"),
    (b"1", "1", "but this came"),
    (b"1", int, "valid integer"),
    (1, b"1", "but this came"),
    ("hello", int, "valid integer"),
    ([1], str, "valid string"),
    (1, None, "the message None, but this came"),
]


@pytest.mark.parametrize(("sent", "expected", "told"), UNEXPECTED)
async def test_unexpected(sent: Any, expected: Any, told: str) -> None:
    """
    The first message that is something else is a failure, which shows it and what was said before.
    """
    async with client(shops.echo(), user="alice") as alice:
        await socket.to("alice").send(sent)

        with pytest.raises(AssertionError, match=told) as failure:
            await alice.receives(expected)
        assert re.search(r"What was said:\n +0\.\d{3} - connecting\n +\d\.\d{3} > !hello \{", str(failure.value))


async def test_skipped() -> None:
    """
    With `skip` messages that are something else are gone past, and shown when what is expected does not come.
    """
    async with client(shops.echo(), user="alice") as alice:
        for n in range(4):
            await alice.send({"done": n})

        assert (Progress(done=2) == await alice.receives(lambda p: p["done"] == 2, skip=True) and None) or Progress(
            done=2
        )
        with pytest.raises(AssertionError, match=r'skipped: \{"done":3\}'):
            await alice.receives(Point, skip=True, timeout=SHORT)


async def test_nothing_came() -> None:
    """
    When nothing comes in time, the failure says what, how long, and everything that was said, shortened.
    """
    async with client(shops.echo(), user="alice", timeout=SHORT) as alice:
        await alice.send("x" * 1000)
        await alice.receives()

        with pytest.raises(AssertionError) as failure:
            await alice.receives({"online": ["alice"]})
    text = str(failure.value)
    assert text.startswith(f"expected the message {{'online': ['alice']}}, but it did not come within {SHORT:g} s\n")
    assert re.search(r'> "x{199}… \(1002 characters\)\n +\d\.\d{3} < \d+ x=text x{200}… \(1000 characters\)', text)


async def test_an_own_timeout() -> None:
    """
    A call may wait longer or shorter than the client does.
    """
    async with client(shops.echo(), user="alice") as alice:
        with pytest.raises(AssertionError, match=f"within {2 * MS:g} s"):
            await alice.receives(timeout=2 * MS)


async def test_errors_are_messages() -> None:
    """
    An error comes in its place among the messages, as clients of the plain protocol get it.
    """
    async with client(shops.echo(), user="alice") as alice:
        await alice.send_text("{no json")

        await alice.receives({"error": "Invalid JSON"})


async def test_binary() -> None:
    """
    Bytes go as a binary frame, also with a newline in them.
    """
    async with client(shops.echo(), user="alice") as alice:
        await alice.send(b"\n\x00ab\n")

        assert b"\nba\x00\n" == await alice.receives(bytes)


async def test_nothing_is_received() -> None:
    """
    `receives_nothing` holds when nothing was sent, again and again, and leaves nothing to be received.
    """
    async with client(shops.echo(), user="alice") as alice, client(shops.anonymous()) as nobody:
        for device in (alice, nobody):
            await device.receives_nothing()
            await device.receives_nothing()
            with pytest.raises(AssertionError, match="did not come"):
                await device.receives(timeout=10 * MS)


@pytest.mark.parametrize("times", range(5))
async def test_what_was_sent_is_something(times: int) -> None:
    """
    What was sent before is found, though it may still be on its way, and it is shown.
    """
    async with client(shops.echo(), user="alice") as alice:
        await socket.to("alice").send({"surprise": times})

        with pytest.raises(AssertionError, match=r'expected no message, but 1 came\n  \{"surprise":'):
            await alice.receives_nothing()
        assert {"surprise": times} == await alice.receives()


async def test_nothing_disturbs_no_other_device() -> None:
    """
    The user's other test clients do not receive what `receives_nothing` sends, at once or when they come back.
    """
    app = shops.echo()
    async with client(app, user="alice") as phone, client(app, user="alice") as laptop:
        await laptop.disconnect()
        await phone.receives_nothing()
        await laptop.reconnect()

        assert laptop.recovered
        assert phone.offset == laptop.offset
        await laptop.receives_nothing()


async def test_a_client_is_revoked() -> None:
    """
    A client that was made before its user was revoked stays out, and a new one comes in.
    """
    app = shops.echo()
    async with client(app, user="alice") as before:
        await socket.to("alice").revoke()
        assert CloseCode.REVOKED == await before.closed()
        await before.reconnect()
        assert CloseCode.REVOKED == await before.closed()
        async with client(app, user="alice") as after:
            assert "alice" == after.user


async def test_nothing_of_a_closed_connection() -> None:
    """
    A connection that is closed is no proof that nothing was sent.
    """
    async with client(shops.anonymous()) as nobody:
        await nobody.send("close")
        await nobody.closed()

        with pytest.raises(AssertionError, match=r"the connection is closed: 4101 REVOKED \(revoked\)"):
            await nobody.receives_nothing()


async def test_closed() -> None:
    """
    `closed` returns the code. What came before can be received, and after it waiting and sending fail with the code.
    """
    async with client(shops.anonymous()) as nobody:
        await nobody.send({"n": 1})
        await nobody.receives({"n": 1})
        await nobody.send({"n": 2})
        await nobody.send("close")

        assert CloseCode.REVOKED is await nobody.closed()
        await nobody.receives({"n": 2})
        with pytest.raises(AssertionError, match=r"expected a message, but the connection is closed: 4101 REVOKED"):
            await nobody.receives()
        with pytest.raises(AssertionError, match=r"cannot send, since the connection is closed: 4101 REVOKED"):
            await nobody.send(1)


async def test_not_closed() -> None:
    """
    A connection that stays open is a failure of `closed`.
    """
    async with client(shops.anonymous()) as nobody:
        with pytest.raises(AssertionError, match="expected the connection to be closed"):
            await nobody.closed(timeout=SHORT)


async def test_cut_and_back(redis_server: EmbeddedRedis) -> None:
    """
    A client that was cut off and comes back gets what it missed, once, after what it had not received before.
    """
    async with client(shops.echo(), user="alice") as alice:
        await alice.send({"n": 1})
        await alice.receives({"n": 1})
        assert not alice.recovered
        await socket.to("alice").send({"n": 2})
        offset, connection = alice.offset, alice.connection
        await alice.cut()

        assert 1006 == await alice.closed()
        await socket.to("alice").send({"n": 3})
        await alice.reconnect()
        assert alice.recovered
        assert connection != alice.connection
        for n in (2, 3):
            await alice.receives({"n": n})
        await alice.receives_nothing()
        assert (offset or 0) < (alice.offset or 0)
        assert 0 == alice.gaps


async def test_gone_before_it_was_read() -> None:
    """
    Cut, closed, cut again: none of them needs a connection.
    """
    async with client(shops.echo(), user="alice") as alice:
        await alice.cut()
        await alice.disconnect()
        await alice.cut()
        await alice.reconnect()
        await alice.reconnect()
        await alice.receives_nothing()


async def test_the_wrong_expectation_is_no_failure_of_the_application() -> None:
    """
    What cannot be a message at all is a TypeError.
    """
    async with client(shops.echo(), user="alice") as alice:
        await alice.send(1)

        with pytest.raises(TypeError, match="no type that a message can be"):
            await alice.receives(EmbeddedRedis | type(alice))
