"""What a node says of itself, as real clients make it."""

import asyncio
import os
import time
from contextlib import closing
from importlib.metadata import version

from fastapi import FastAPI

from qrsocket import socket, status
from qrsocket.presence.census import Figures
from qrsocket.server.lifespan import running_node
from qrsocket.settings import get_settings
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.clients import PATIENCE, Open
from tests.conftest import MS
from tests.deaf import Deaf


async def figures() -> Figures:
    """What the only node has said last."""
    async with asyncio.timeout(PATIENCE):
        while True:
            [node] = (await status.aread(get_settings())).nodes
            if node.figures is not None:
                return node.figures
            await asyncio.sleep(5 * MS)


async def test_a_node_says_what_it_is_and_has(serve: Serve, open_client: Open) -> None:
    """
    Its process, its open connections, and since when it runs.
    """
    address = await serve(router_of_named_users())
    for user in ("alice", "bob"):
        await open_client(address, f"/socket?user={user}")
    async with asyncio.timeout(PATIENCE):
        while (told := await figures()).connections < 2 or not told.lag:
            pass

    assert (version("qrsocket"), os.getpid(), 2) == (told.version, told.pid, told.connections)
    assert time.time() - PATIENCE < told.since <= time.time()
    assert (0, 0) == (told.waiting_bytes, told.behind)
    assert 0 < told.lag < PATIENCE


async def test_messages_per_second(serve: Serve, open_client: Open) -> None:
    """
    What is written counts once, between one renewal and the next.
    """
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")
    async with asyncio.timeout(PATIENCE):
        while not (busy := (await figures()).messages_per_second):
            await socket.to("alice").send("hi")
            await alice.receive_text()
        while (await figures()).messages_per_second:
            pass

    assert 0 < busy < 1000 / MS


async def test_a_client_that_does_not_read(serve: Serve) -> None:
    """
    What waits for it is told in bytes, and that it is behind; and not any more when it has gone.
    """
    app = FastAPI()
    address = await serve(router_of_named_users(), app=app)
    node = running_node(app)
    assert node is not None
    with closing(Deaf(address)) as deaf:
        await deaf.opened()
        async with asyncio.timeout(PATIENCE):
            while not (await figures()).waiting_bytes:
                await socket.to("alice").send("x" * 30_000)
            heard = node.hub.heard_of("u:alice")
            assert heard is not None
            node.hub.heard("u:alice", heard._replace(offset=heard.offset + 1))  # as if it had missed one
            while not (told := await figures()).behind:
                pass
    async with asyncio.timeout(PATIENCE):
        while (await figures()).connections:
            await socket.to("alice").send("x")

    assert (1, 1) == (told.connections, told.behind)
    assert 30_000 <= told.waiting_bytes <= get_settings().max_queued_bytes + 60_000
    assert (0, 0) == ((await figures()).waiting_bytes, (await figures()).behind)
