"""What a connection leaves behind: nothing that waits for the garbage collection, which seldom runs on a node."""

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest
from fastapi import HTTPException
from websockets.exceptions import InvalidStatus

import qrsocket
from qrsocket import SocketError, User, socket
from qrsocket.server import SocketRouter
from tests.app.conftest import Serve
from tests.app.speaking import VERSION_1
from tests.clients import Client, Open
from tests.conftest import Configure, until

# Of an older uvicorn and its WebSocket class much is left.
pytestmark = pytest.mark.not_on_lowest

OURS = ("qrsocket.server.", "starlette.websockets.", "websockets.server.")
Visit = Callable[[Open, str], Awaitable[None]]


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    logging.disable()  # pytest keeps each record, and its traceback
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    logging.disable(logging.NOTSET)


def alive() -> Counter[str]:
    """Objects that belong to one connection or another, by their types."""
    kinds = (f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
    return Counter(kind for kind in kinds if kind.startswith(OURS))


def router() -> SocketRouter:
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> User | None:
        if query.get("user") == "nobody":
            raise HTTPException(403)
        await socket.join("room")
        return User(query["user"]) if "user" in query else None

    @router.authenticate
    async def authenticate(data: str) -> User:
        return User(data)

    @router.on_join("{name}", members=True)
    async def on_join(name: str) -> None:
        if name == "closed":
            raise SocketError("closed")

    @router.on_message
    async def on_message(data: str) -> str:
        if data == "wrong":
            raise RuntimeError(data)
        return data

    return router


async def comes(open_client: Open, address: str, query: str = "?user=ada", hello: str | None = "{}") -> Client:
    client = await open_client(address, f"/socket{query}", subprotocols=None if hello is None else [VERSION_1])
    if hello is not None:
        await client.send_text(f"!hello\n{hello}")
        await client.receive_text()
    return client


async def plain(open_client: Open, address: str) -> None:
    client = await comes(open_client, address, hello=None)
    await client.send("right")
    await (await client.connection.ping())
    await client.connection.close()


async def with_topics(open_client: Open, address: str) -> None:
    client = await comes(open_client, address)
    for topic, answer in {"tea": '"tea"', "closed": "error"}.items():
        await client.send_text(f'!join\n{{"topic": "{topic}", "request": "1"}}')
        await until_text(client, answer)
    await socket.to("ada").send("hello")
    await until_text(client, "hello")
    await client.connection.close()


async def until_text(client: Client, text: str) -> None:
    while text not in str(await client.receive_text()):
        pass


async def cut_off(open_client: Open, address: str) -> None:
    client = await comes(open_client, address)
    client.connection.transport.abort()
    await client.connection.wait_closed()


async def while_handlers_fail(open_client: Open, address: str) -> None:
    client = await comes(open_client, address)
    await client.send_text('1\n"wrong"')
    await until_text(client, "Internal error")
    client.connection.transport.abort()
    await client.connection.wait_closed()


async def that_sends_no_json(open_client: Open, address: str) -> None:
    client = await comes(open_client, address)
    for message in ("no JSON", '"' + "x" * 60_000):
        await client.send_text(f"1\n{message}")
        await until_text(client, "Invalid JSON")
    await client.connection.close()


async def late(open_client: Open, address: str) -> None:
    client = await comes(open_client, address, query="", hello=None)
    await client.send("ada")
    await client.connection.close()


async def closed_by_us(open_client: Open, address: str) -> None:
    client = await comes(open_client, address)
    await until_online()
    await socket.to("ada").close()
    assert 4101 == await client.closed()


async def until_online() -> None:
    while not await socket.is_online("ada"):
        pass


async def revoked(open_client: Open, address: str) -> None:
    await qrsocket.revoke("eve")
    client = await open_client(address, "/socket?user=eve", subprotocols=[VERSION_1])
    await client.send_text("!hello\n{}")
    assert 4101 == await client.closed()


async def refused(open_client: Open, address: str) -> None:
    with pytest.raises(InvalidStatus):
        await open_client(address, "/socket?user=nobody")


VISITS: list[Visit] = [
    plain,
    with_topics,
    cut_off,
    while_handlers_fail,
    that_sends_no_json,
    late,
    closed_by_us,
    revoked,
    refused,
]


@pytest.mark.parametrize("visit", VISITS, ids=lambda visit: visit.__name__)
async def test_nothing_is_left(serve: Serve, open_client: Open, configure: Configure, visit: Visit) -> None:
    """
    However a connection ends, all that belongs to it is gone then, without a garbage collection.
    """
    configure(handler_timeout=1)  # so long the loop keeps the context of a timer that was cancelled
    address = await serve(router())
    await visit(open_client, address)  # what is made once
    await asyncio.sleep(0)
    gc.collect()
    before = alive()
    for _ in range(3):
        await visit(open_client, address)

    def left() -> Counter[str]:
        return alive() - before

    with suppress(AssertionError):
        await until(lambda: not left())
    assert {} == left()
