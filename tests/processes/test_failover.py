"""A web node and a worker live on after a failover, though their old Redis is up: as a replica."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TypeVar

import httpx2 as httpx
import pytest

from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import PATIENCE, Client, Open
from tests.conftest import MS, Configure, until
from tests.failover import Pair, a_pair
from tests.running import web_node, worker

T = TypeVar("T")


@pytest.fixture
async def pair(configure: Configure) -> AsyncIterator[Pair]:
    async with a_pair() as pair:
        configure(redis_url=pair.url, lease=1_500 * MS, renew_interval=200 * MS, offline_grace=500 * MS)
        yield pair


async def test_a_failover_needs_no_restart(pair: Pair, broker: EmbeddedRedis, open_client: Open) -> None:
    """
    After a failover, and others back and forth, a client that stayed connected gets what its web node sends and what a
    job sends that it has queued; and its node listens to the new primary.
    """
    env = {"CELERY_BROKER_URL": broker.url}
    async with (
        aside(web_node(app="tests.processes.cluster:app", env=env)) as node,
        aside(worker(app="tests.processes.cluster:jobs", env=env)),
        httpx.AsyncClient(base_url=node.url, timeout=PATIENCE) as http,
    ):
        alice = await open_client(f"127.0.0.1:{node.port}", "/socket?user=alice")
        for step in ("before", "after one", "after two", "after three", "after four"):
            await ready(http)
            assert 1 == (await http.post(f"/send/alice?message={step}")).json()
            await alice.send(step)
            await receive_both(alice, step, f'{{"echo":"{step}"}}')
            await pair.in_step()
            pair.fail_over()
            pair.lead()
            await until(lambda: pair.primary.pubsub_channels())


@asynccontextmanager
async def aside(process: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Begin and end *process* in a thread, since it reaches Redis through a proxy that runs here."""
    running = await asyncio.to_thread(process.__enter__)
    try:
        yield running
    finally:
        await asyncio.to_thread(process.__exit__, None, None, None)


async def ready(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await http.get("/socket/ready")).status_code != 200:
            await asyncio.sleep(10 * MS)


async def receive_both(client: Client, *messages: str) -> None:
    """Read until all *messages* have come, in any order."""
    missing = set(messages)
    while missing:
        missing.discard(str(await client.receive_text()))
