"""Whole applications in this process: real uvicorn on a loopback port, real clients. One application is one node."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from fastapi import APIRouter, FastAPI

from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.testing.serving import served
from tests.app.speaking import VERSION_1, OpenSpeaker, Speaker
from tests.clients import Open
from tests.conftest import MS, Configure

Serve: TypeAlias = Callable[..., Awaitable[str]]
Loops: TypeAlias = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]
ASYNCIOS: Loops = {"asyncio": asyncio.new_event_loop}


def pytest_asyncio_loop_factories(item: pytest.Item) -> Loops:
    """Run a module's tests on each of its `LOOPS`; where it has none, on asyncio's."""
    loops: Loops = getattr(getattr(item, "module", None), "LOOPS", ASYNCIOS)
    return loops


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve *app* as `uvicorn module:app` does; yields `127.0.0.1:<port>`."""
    async with served(app) as server:
        yield server.address


@pytest.fixture
async def serve(redis_server: EmbeddedRedis, configure: Configure) -> AsyncIterator[Serve]:
    """Serve routers as an application of their own, until the test ends: `address = await serve(router)`."""
    configure(renew_interval=20 * MS, offline_grace=30 * MS)
    async with AsyncExitStack() as stack:

        async def serve(*routers: APIRouter, app: FastAPI | None = None) -> str:
            app = app or FastAPI()
            for router in routers:
                app.include_router(router)
            return await stack.enter_async_context(serving(app))

        yield serve


@pytest.fixture
def open_speaker(open_client: Open) -> OpenSpeaker:
    """Connect a client that speaks `qrsocket.v1`: `alice = await open_speaker(address, "alice")`."""

    async def open(address: str, user: str | None = None, **options: Any) -> Speaker:
        query = "" if user is None else f"?user={user}"
        return Speaker(await open_client(address, f"/socket{query}", subprotocols=[VERSION_1], **options))

    return open
