"""A client that stops reading: it is soon nobody's, and keeps neither its descriptor nor the server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import Any

import pytest
from fastapi import FastAPI

from qrsocket import socket
from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.server.lifespan import running_node
from qrsocket.testing.serving import Server, served
from tests.app.routers import router_of_named_users
from tests.clients import PATIENCE
from tests.conftest import MS, Configure, until
from tests.deaf import Deaf


class Wrapping:
    """An ASGI middleware that wraps `receive` and `send`, as tracers do."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        async def wrapped_receive() -> Any:
            return await receive()

        async def wrapped_send(event: Any) -> None:
            await send(event)

        await self._app(scope, wrapped_receive, wrapped_send)


@pytest.fixture(params=["uvicorn", "behind a middleware"])
async def server(
    request: pytest.FixtureRequest, redis_server: EmbeddedRedis, configure: Configure
) -> AsyncIterator[Server]:
    configure(renew_interval=20 * MS, offline_grace=30 * MS, ping_interval=1_000 * MS, ping_timeout=300 * MS)
    app = FastAPI()
    app.include_router(router_of_named_users())
    if request.param != "uvicorn":
        app.add_middleware(Wrapping)
    async with served(app) as server:
        yield server


def transports(server: Server) -> list[Any]:
    return [connection.transport for connection in server._uvicorn.server_state.connections]


async def fill(server: Server, *, leave_waiting: bool) -> None:
    """Send until the transport holds something, and the connection's queue as well if that is wanted."""
    node = running_node(server.app)
    assert node is not None
    (connection,) = node.hub.connections
    while not transports(server)[0].get_write_buffer_size() or (leave_waiting and not connection._waiting):
        await socket.to("alice").send("x" * 30_000)


async def gone(user: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await socket.is_online(user):
            await asyncio.sleep(5 * MS)


@pytest.mark.parametrize("leave_waiting", [False, True])
async def test_a_client_that_reads_nothing_is_gone(server: Server, leave_waiting: bool) -> None:
    """
    When its ping is not answered it is offline, and nothing of it is left, whether messages wait for it or not.
    """
    with closing(Deaf(server.address)) as deaf:
        await deaf.opened()
        await fill(server, leave_waiting=leave_waiting)

        await until(lambda: not transports(server))
        await gone("alice")


@pytest.mark.parametrize("leave_waiting", [False, True])
async def test_a_client_that_closes_and_reads_nothing(
    server: Server, configure: Configure, leave_waiting: bool
) -> None:
    """
    One that says goodbye and reads nothing more keeps no descriptor.
    """
    with closing(Deaf(server.address)) as deaf:
        await deaf.opened()
        await fill(server, leave_waiting=leave_waiting)
        deaf.send_close()

        await until(lambda: not transports(server))
        await gone("alice")


async def test_a_client_that_is_closed_and_reads_nothing(server: Server) -> None:
    """
    One that is closed by the application keeps no descriptor.
    """
    with closing(Deaf(server.address)) as deaf:
        await deaf.opened()
        await fill(server, leave_waiting=False)
        await socket.to("alice").close(4101, "signed out")

        await until(lambda: not transports(server))
