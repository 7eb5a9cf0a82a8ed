"""A connection without a user says in its first message who it is."""

from typing import Any

import pytest
from fastapi import HTTPException

from qrsocket import SocketError, User, authenticated, socket
from qrsocket.server import SocketRouter
from tests.app.conftest import Serve
from tests.clients import Open
from tests.conftest import MS, Configure


def router_with_tokens() -> SocketRouter:
    router = SocketRouter("/socket")

    @router.authenticate
    async def authenticate(data: Any) -> Any:
        if data == "nobody":
            return None
        if data == "forbidden":
            raise HTTPException(403, "forbidden")
        if data == "unlucky":
            raise SocketError("no luck")
        if data == "broken":
            raise ValueError("s3cret")
        return data

    @router.on_message
    async def on_message(data: Any, user: User | None) -> None:
        if isinstance(data, dict) and "become" in data:
            await authenticated(data["become"])
        await socket.send({"user": user and user.id, "data": data})

    return router


@pytest.mark.parametrize("answer", ["alice", {"id": "alice"}])
async def test_a_user(serve: Serve, open_client: Open, answer: Any) -> None:
    """
    The first message goes to `authenticate`, not to the handler; the next knows the user.
    """
    client = await open_client(await serve(router_with_tokens()))

    await client.send(answer)
    await client.send(1)

    assert {"user": "alice", "data": 1} == await client.receive()
    assert await socket.is_online("alice")


async def test_an_anonymous_session(serve: Serve, open_client: Open) -> None:
    """
    None is an anonymous session: it is asked once, not again.
    """
    client = await open_client(await serve(router_with_tokens()))

    await client.send("nobody")
    await client.send("alice")

    assert {"user": None, "data": "alice"} == await client.receive()


@pytest.mark.parametrize(
    ("first", "error"),
    [
        ("forbidden", "forbidden"),
        ("unlucky", "no luck"),
        ("", "a user id must not be empty or hold control characters"),
    ],
)
async def test_refused(serve: Serve, open_client: Open, first: str, error: str) -> None:
    """
    What `authenticate` raises is told, and the connection closed with 4100.
    """
    client = await open_client(await serve(router_with_tokens()))

    await client.send(first)

    assert {"error": error} == await client.receive()
    assert 4100 == await client.closed()


async def test_an_unexpected_error(serve: Serve, open_client: Open) -> None:
    """
    The text of an unexpected exception is not told; the client may come back, since it was not refused.
    """
    client = await open_client(await serve(router_with_tokens()))

    await client.send("broken")

    error = (await client.receive())["error"]
    assert error.startswith("Internal error (")
    assert "s3cret" not in error
    assert 1011 == await client.closed()


async def test_not_json(serve: Serve, open_client: Open) -> None:
    """
    A first message that is not JSON is refused like a wrong token.
    """
    client = await open_client(await serve(router_with_tokens()))

    await client.send_text("{")

    assert {"error": "Invalid JSON"} == await client.receive()
    assert 4100 == await client.closed()


async def test_deadline(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    Without a first message in time the connection is closed with 4100.
    """
    configure(auth_deadline=50 * MS)
    client = await open_client(await serve(router_with_tokens()))

    assert 4100 == await client.closed()


async def test_an_anonymous_connection_signs_in(serve: Serve, open_client: Open) -> None:
    """
    `await authenticated(user)` in a message handler makes the connection the user's, from that message on.
    """
    client = await open_client(await serve(router_with_tokens()))
    await client.send("nobody")

    await client.send({"become": "alice"})
    await client.receive()
    await client.send(1)

    assert {"user": "alice", "data": 1} == await client.receive()
    assert 1 == (await socket.to("alice").send("hi")).connections


async def test_a_second_user(serve: Serve, open_client: Open) -> None:
    """
    A second user on one connection closes it with 4100; the first one's other devices stay.
    """
    address = await serve(router_with_tokens())
    staying, leaving = await open_client(address), await open_client(address)
    for client in (staying, leaving):
        await client.send("alice")
        await client.send("ready")
        await client.receive()
    await staying.receive()  # what the other device's message was answered with

    await leaving.send({"become": "bob"})

    assert 4100 == await leaving.closed()
    assert not await socket.is_online("bob")
    await socket.to("alice").send("hi")
    assert "hi" == await staying.receive_text()


async def test_authenticate_may_send(serve: Serve, open_client: Open) -> None:
    """
    `socket.send` in `authenticate` reaches the connection, before it has a user.
    """
    router = SocketRouter("/socket")

    @router.authenticate
    async def authenticate(data: str) -> User:
        await socket.send({"welcome": data})
        return User(data)

    client = await open_client(await serve(router))
    await client.send("alice")

    assert {"welcome": "alice"} == await client.receive()
