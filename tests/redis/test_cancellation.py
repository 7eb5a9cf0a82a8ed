"""A task that waits for Redis ends when it is cancelled."""

import asyncio

import pytest

from qrsocket import clients
from qrsocket.keys import Keyspace
from qrsocket.presence import table
from qrsocket.roundtrip import arun
from qrsocket.settings import get_settings
from tests.clients import PATIENCE


@pytest.mark.usefixtures("redis_server")
async def test_a_cancellation_is_not_lost() -> None:
    """
    Whatever a call is waiting for when its task is cancelled, the task ends. (With a socket timeout, redis-py lost
    every third cancellation on Python 3.11.)
    """
    settings = get_settings()
    call = table.live_nodes(Keyspace.of(settings).shards[0])

    async def ask_for_ever() -> None:
        while True:
            await arun(clients.awaiting(settings), call, timeout=settings.redis_timeout)

    for turns in range(200):
        asking = asyncio.create_task(ask_for_ever())
        for _ in range(turns % 23):
            await asyncio.sleep(0)
        asking.cancel()
        done, _ = await asyncio.wait([asking], timeout=PATIENCE)
        assert done, f"cancelled after {turns % 23} turns of the loop, it went on"
