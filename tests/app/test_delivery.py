"""What is sent reaches every open connection of its stream, and nobody else."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel

from qrsocket import CloseCode, Delivery, User, authenticated, socket
from qrsocket.server import SocketRouter
from qrsocket.sync import socket as blocking
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.clients import PATIENCE, Open


class Progress(BaseModel):
    done: int
    at: datetime


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("message", "received"),
    [
        ("hello", "hello"),
        ("", ""),
        ("👋🏽 ß", "👋🏽 ß"),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        ({"a": [1, None, True]}, '{"a":[1,null,true]}'),
        (Progress(done=1, at=datetime(2026, 1, 2, tzinfo=UTC)), '{"done":1,"at":"2026-01-02T00:00:00Z"}'),
        (Point(3), '{"x":3}'),
        ("line\nline\ttab", "line\nline\ttab"),
    ],
)
async def test_a_message_arrives_as_it_was_sent(serve: Serve, open_client: Open, message: Any, received: Any) -> None:
    """
    A str arrives as a text frame, bytes as a binary frame, anything else as a JSON document.
    """
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")

    await socket.to("alice").send(message)

    assert received == await alice.receive_text()


async def test_every_device_on_every_node(serve: Serve, open_client: Open) -> None:
    """
    A user's connections on two nodes all receive a message; another user's do not.
    """
    first, second = await serve(router_of_named_users()), await serve(router_of_named_users())
    devices = [await open_client(node, "/socket?user=alice") for node in (first, first, second)]
    bob = await open_client(first, "/socket?user=bob")

    delivery = await socket.to("alice").send({"n": 1})
    await socket.to("bob").send({"n": 2})

    assert (3, 2) == (delivery.connections, delivery.nodes)
    assert [{"n": 1}] * 3 == [await device.receive() for device in devices]
    assert {"n": 2} == await bob.receive()


async def test_many_users_at_once(serve: Serve, open_client: Open) -> None:
    """
    One call sends to many users, each once, whether they are named by str, int or an object with an id.
    """
    address = await serve(router_of_named_users())
    clients = [await open_client(address, f"/socket?user={n}") for n in range(20)]

    delivery = await socket.to([User(id="0"), 1, "1", *range(2, 20), "offline"]).send("hi")

    assert 20 == delivery.connections
    assert ["hi"] * 20 == [await client.receive_text() for client in clients]


async def test_nobody_online(serve: Serve) -> None:
    """
    A message to somebody who is not connected is delivered to nobody, which is falsy and no error.
    """
    await serve(router_of_named_users())

    delivery = await socket.to("nobody").send("hi")

    assert not delivery
    assert (0, 0) == (delivery.connections, delivery.nodes)


async def test_order_is_kept(serve: Serve, open_client: Open) -> None:
    """
    Messages of one sender arrive in the order they were sent.
    """
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")

    for n in range(300):
        await socket.to("alice").send({"n": n})

    assert list(range(300)) == [(await alice.receive())["n"] for _ in range(300)]


async def test_open_means_attached(serve: Serve, open_client: Open) -> None:
    """
    A client whose socket has just opened can be sent to: there is no gap between the two.
    """
    address = await serve(router_of_named_users())

    for n in range(20):
        await open_client(address, f"/socket?user=new{n}")
        assert 1 == (await socket.to(f"new{n}").send("hi")).connections


async def test_an_anonymous_connection_is_answered(serve: Serve, open_client: Open) -> None:
    """
    Without a user, `socket.send` in a handler reaches the connection that it handles, and no other.
    """
    address = await serve(router_of_named_users())
    first, second = await open_client(address), await open_client(address)

    await first.send(1)
    await second.send(2)

    assert ({"echo": 1}, {"echo": 2}) == (await first.receive(), await second.receive())


async def test_from_an_endpoint(serve: Serve, open_client: Open) -> None:
    """
    `authenticated(user)` in an async dependency lets `socket.send` of an `async def` or a `def` endpoint know the user.
    """
    app = FastAPI()

    async def signed_in(name: str) -> User:
        return await authenticated(name)

    @app.post("/async")
    async def async_endpoint(user: User = Depends(signed_in)) -> int:
        return (await socket.send({"from": "async"})).connections

    @app.post("/blocking", dependencies=[Depends(signed_in)])
    def blocking_endpoint() -> int:
        return blocking.send({"from": "blocking"}).connections

    address = await serve(router_of_named_users(), app=app)
    alice = await open_client(address, "/socket?user=alice")

    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as http:
        answers = [(await http.post(f"/{path}?name=alice")).json() for path in ("async", "blocking")]

    assert [1, 1] == answers
    assert [{"from": "async"}, {"from": "blocking"}] == [await alice.receive(), await alice.receive()]


async def test_close_everywhere(serve: Serve, open_client: Open) -> None:
    """
    `socket.to(user).close(...)` closes the user's connections on all nodes with that code, and nobody else's.
    """
    first, second = await serve(router_of_named_users()), await serve(router_of_named_users())
    devices = [await open_client(node, "/socket?user=alice") for node in (first, second)]
    bob = await open_client(first, "/socket?user=bob")

    await socket.to("alice").send("last words")
    await socket.to("alice").close(CloseCode.REVOKED, "signed out")
    await socket.to("bob").send("still here")

    assert ["last words"] * 2 == [await device.receive_text() for device in devices]
    assert [4101, 4101] == [await device.closed() for device in devices]
    assert "still here" == await bob.receive_text()


async def test_close_this_connection(serve: Serve, open_client: Open) -> None:
    """
    `socket.close()` in a handler closes the connection that it handles; the user's others stay.
    """
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect() -> User:
        return User("alice")

    @router.on_message
    async def on_message() -> None:
        await socket.close(3001, "bye")

    address = await serve(router)
    leaving, staying = await open_client(address), await open_client(address)

    await leaving.send(1)

    assert 3001 == await leaving.closed()
    assert 1 == (await socket.to("alice").send("hi")).connections
    assert "hi" == await staying.receive_text()


async def test_two_routers_share_a_node(serve: Serve, open_client: Open) -> None:
    """
    Two routers of one application serve two paths; a user on both has two connections on one node.
    """
    address = await serve(router_of_named_users("/a"), router_of_named_users("/b"))
    clients = [await open_client(address, f"/{path}?user=alice") for path in "ab"]

    delivery: Delivery = await socket.to("alice").send("hi")

    assert (2, 1) == (delivery.connections, delivery.nodes)
    assert ["hi", "hi"] == [await client.receive_text() for client in clients]


async def test_a_slow_client_is_closed_and_delays_nobody(serve: Serve, open_client: Open, configure: Any) -> None:
    """
    A client that does not read is closed with 4000 once too much waits for it; a neighbour receives everything.
    """
    configure(max_queued_bytes=256 * 1024)
    address = await serve(router_of_named_users())
    # Small buffers in the client, or the kernel takes megabytes before the server notices.
    slow = await open_client(address, "/socket?user=slow", max_queue=1)
    slow.connection.transport.pause_reading()
    quick = await open_client(address, "/socket?user=quick")
    payload = "x" * 100_000

    received = asyncio.create_task(_count(quick.connection, len(payload), 150))
    for _ in range(150):
        await socket.to(["slow", "quick"]).send(payload)
        await asyncio.sleep(0)

    assert 150 == await received
    await _until_gone("slow")
    slow.connection.transport.resume_reading()
    assert 4000 == await slow.closed()


async def _count(connection: Any, size: int, wanted: int) -> int:
    count = 0
    async with asyncio.timeout(2 * PATIENCE):
        while count < wanted:
            count += len(await connection.recv()) == size
    return count


async def _until_gone(user: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await socket.is_online(user):
            await asyncio.sleep(0.01)
