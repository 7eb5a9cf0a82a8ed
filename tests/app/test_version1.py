"""`qrsocket.v1`: who a client is, where it is, and what it is told about its connection."""

from typing import Any

import pytest
from fastapi import HTTPException
from websockets.exceptions import InvalidStatus

from qrsocket import SocketError, authenticated, socket
from qrsocket.position import Position
from qrsocket.server import SocketRouter
from qrsocket.server.wire import NO_HEADER
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.app.speaking import VERSION_1, Speaker
from tests.clients import Open
from tests.conftest import MS, Configure


def router_with_tokens() -> SocketRouter:
    router = SocketRouter("/socket")

    @router.authenticate
    async def authenticate(data: Any) -> Any:
        if data == "wrong":
            raise HTTPException(401, "Unknown token")
        return data

    @router.on_message
    async def on_message(data: Any) -> None:
        if data == "sign me in":
            await authenticated("late")
        elif data == "fail":
            raise SocketError("no")
        await socket.send({"echo": data})

    return router


@pytest.fixture
def speak(open_client: Open) -> Any:
    async def open(address: str, path: str = "/socket") -> Speaker:
        return Speaker(await open_client(address, path, subprotocols=[VERSION_1]))

    return open


async def test_ready(serve: Serve, speak: Any) -> None:
    """
    A hello is answered with what the client is: connection, user, and a position from which messages follow.
    """
    alice = await speak(await serve(router_of_named_users()), "/socket?user=alice")

    ready = await alice.hello()
    await socket.to("alice").send("hi")
    await socket.to("alice").send(b"\x00\n\xff")

    assert {"connection", "user", "epoch", "offset", "recovered", "jobs", "topics"} == set(ready)
    assert ("alice", False) == (ready["user"], ready["recovered"])
    assert VERSION_1 == alice.connection.subprotocol
    assert ["hi", b"\x00\n\xff"] == [await alice.receive(), await alice.receive()]


async def test_plain_and_version_1_side_by_side(serve: Serve, speak: Any, open_client: Open) -> None:
    """
    Devices of one user may speak either protocol; the plain one stays exactly what the application sends.
    """
    address = await serve(router_of_named_users())
    plain = await open_client(address, "/socket?user=alice", subprotocols=["other", "chat"])
    alice = await speak(address, "/socket?user=alice")
    await alice.hello()

    await socket.to("alice").send({"n": 1})

    assert plain.connection.subprotocol is None
    assert '{"n":1}' == await plain.receive_text() == await alice.receive()


async def test_a_message_before_any_hello(serve: Serve, speak: Any) -> None:
    """
    A client may begin with a message: it gets its ready, without a recovery, and then its answer.
    """
    alice = await speak(await serve(router_of_named_users()), "/socket?user=alice")

    await alice.send("first")
    ready = await alice.control("ready")

    assert ready["recovered"] is False
    assert '{"echo":"first"}' == await alice.receive()


async def test_silence(serve: Serve, speak: Any, configure: Configure) -> None:
    """
    A client that says nothing gets its ready when the time for the first frame is over.
    """
    configure(auth_deadline=50 * MS)
    alice = await speak(await serve(router_of_named_users()), "/socket?user=alice")

    assert "alice" == (await alice.control("ready"))["user"]


async def test_authenticate_by_hello(serve: Serve, speak: Any) -> None:
    """
    What a hello has as `auth` is what `authenticate` gets; None of it, as None, is an anonymous session.
    """
    address = await serve(router_with_tokens())
    alice, nobody = await speak(address), await speak(address)

    assert "alice" == (await alice.hello(auth="alice"))["user"]
    assert (await nobody.hello())["user"] is None
    await nobody.send(1)
    assert '{"echo":1}' == await nobody.receive()
    assert {"alice"} == await socket.online()


async def test_authenticate_by_the_first_message(serve: Serve, speak: Any) -> None:
    """
    Without a hello the first message goes to `authenticate`, as in the plain protocol.
    """
    alice = await speak(await serve(router_with_tokens()))
    await alice.send("alice")

    assert "alice" == (await alice.control("ready"))["user"]


async def test_who_is_refused(serve: Serve, speak: Any) -> None:
    """
    A wrong token is told as an error, then the connection is closed with 4100; it never had a place.
    """
    alice = await speak(await serve(router_with_tokens()))
    await alice.client.send_text('!hello\n{"auth":"wrong"}')

    assert {"error": "Unknown token", "request": None} == await alice.control("error")
    assert 4100 == await alice.closed()


async def test_signing_in_later(serve: Serve, speak: Any) -> None:
    """
    A connection that gets its user in a handler is told so by another ready, with a position among the user's messages.
    """
    late = await speak(await serve(router_with_tokens()))
    await late.hello()

    await late.send("sign me in")
    ready = await late.control("ready")

    assert "late" == ready["user"]
    assert '{"echo":"sign me in"}' == await late.receive()


async def test_an_error_names_its_request(serve: Serve, speak: Any) -> None:
    """
    An error comes back with the client's own id of the message; without one, with null.
    """
    client = await speak(await serve(router_with_tokens()))
    await client.hello(auth="alice")

    await client.send("fail", request="r-1")
    await client.send("fail")

    assert {"error": "no", "request": "r-1"} == await client.control("error")
    assert {"error": "no", "request": None} == await client.control("error")


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ("no header", NO_HEADER),
        (b"no header", NO_HEADER),
        ("\n1", NO_HEADER),
        ("1  want=reply\n1", NO_HEADER),
        ("1" + "x" * 600 + "\n1", NO_HEADER),
        ("- want=reply\n1", "A request needs an id, for its answer to carry"),
        ("!hello\n{}", "!hello is the first frame, or none"),
        ('!what\n{"request":"1"}', "!what is not known here"),
        ("x" * 65 + "\n1", "A request id is at most 64 characters"),
        ("-\n{", "Invalid JSON"),
        (b"-\n1", "Binary messages are not handled here"),
    ],
)
async def test_a_frame_that_is_none(serve: Serve, speak: Any, frame: str | bytes, text: str) -> None:
    """
    A frame that is no message is answered with an error, and the connection lives on.
    """
    alice = await speak(await serve(router_of_named_users()), "/socket?user=alice")
    await alice.hello()

    await alice.client.send_text(frame)

    assert text == (await alice.control("error"))["error"]
    await alice.send(1)
    assert '{"echo":1}' == await alice.receive()


@pytest.mark.parametrize(
    "hello",
    [
        "{",
        "[]",
        '{"epoch":"e"}',
        '{"offset":1}',
        '{"epoch":"e","offset":-1}',
        '{"epoch":"e","offset":1.5}',
        '{"epoch":"e","offset":true}',
        '{"epoch":"","offset":1}',
        '{"epoch":1,"offset":1}',
        '{"epoch":"e","offset":9007199254740993}',
        '{"epoch":"' + "e" * 65 + '","offset":1}',
        "[" * 100,
    ],
)
async def test_a_misshapen_hello(serve: Serve, speak: Any, hello: str) -> None:
    """
    A hello that cannot be read is told so, and closed with 1008: its client would wait for what it asked for.
    """
    alice = await speak(await serve(router_of_named_users()), "/socket?user=alice")
    await alice.client.send_text(f"!hello\n{hello}")

    assert (await alice.control("error"))["error"].startswith("!hello: ")
    assert 1008 == await alice.closed()


@pytest.mark.parametrize("epoch", ["e", "\n\t", "1-1", "é" * 30])
async def test_a_position_of_nobody(serve: Serve, speak: Any, epoch: str) -> None:
    """
    A position that was never given out recovers nothing, whatever it says, and harms nobody.
    """
    alice = await speak(await serve(router_of_named_users()), "/socket?user=alice")
    ready = await alice.hello(Position(epoch, 2**53))
    await socket.to("alice").send("hi")

    assert ready["recovered"] is False
    assert "hi" == await alice.receive()


async def test_a_slow_sign_in_takes_no_place(serve: Serve, speak: Any, configure: Configure) -> None:
    """
    Nothing is sent to a connection before its ready, and until then it is not online.
    """
    address = await serve(router_of_named_users())
    alice = await speak(address, "/socket?user=alice")

    assert not await socket.to("alice").send("too early")
    assert (await alice.hello())["recovered"] is False
    await socket.to("alice").send("now")
    assert "now" == await alice.receive()


@pytest.mark.not_on_lowest
async def test_silent_connections_count(serve: Serve, speak: Any, configure: Configure) -> None:
    """
    A connection counts against the node's limit from its handshake on, and not from when it says hello.
    """
    configure(max_connections_per_node=2)
    address = await serve(router_of_named_users())
    for _ in range(2):
        await speak(address, "/socket?user=silent")

    with pytest.raises(InvalidStatus, match="503"):
        await speak(address, "/socket?user=alice")


async def test_who_is_one_too_many_is_not_heard(serve: Serve, speak: Any, configure: Configure) -> None:
    """
    The message of a connection that is refused its place is not handled.
    """
    configure(max_connections_per_user=1)
    address = await serve(router_of_named_users())
    alice = await speak(address, "/socket?user=alice")
    await alice.hello()

    refused = await speak(address, "/socket?user=alice")
    await refused.send("handled")

    assert 4103 == await refused.closed()
    await alice.send("mine")
    assert '{"echo":"mine"}' == await alice.receive()
