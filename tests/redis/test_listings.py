"""Lists of jobs, asked for by many at once, and what they cost Redis."""

import asyncio

import pytest
from redis import Redis

from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.errors import Unavailable
from qrsocket.server.listings import Listings
from qrsocket.settings import get_settings
from tests.conftest import MS, Configure


@pytest.fixture
def listings(redis_server: EmbeddedRedis) -> Listings:
    return Listings(get_settings())


def scripts_run(redis: Redis) -> int:
    return int(redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


async def test_who_asks_at_once_shares_a_list(listings: Listings, redis: Redis) -> None:
    """
    Whoever asks for an owner's jobs while a list is read shares the one that is read after it. Other owners wait for
    nobody.
    """
    await listings.of("u:warm-up")
    before = scripts_run(redis)
    redis.client_pause(100)
    first = asyncio.create_task(listings.of("u:alice"))
    for _turn in range(10):
        await asyncio.sleep(0)  # it has asked Redis by then
    await asyncio.gather(first, *(listings.of("u:alice") for _ in range(50)), listings.of("u:bob"))

    assert 3 == scripts_run(redis) - before


async def test_a_slow_list_has_a_rest_after_it(listings: Listings, redis: Redis) -> None:
    """
    After a list that took long, the next one of its owner waits, so that Redis spends a tenth of its time on it.
    """
    loop = asyncio.get_running_loop()
    redis.client_pause(100)
    await listings.of("u:alice")
    began = loop.time()
    await listings.of("u:alice")

    assert loop.time() - began > 0.5


async def test_a_list_outlives_who_asked_first(listings: Listings, redis: Redis) -> None:
    """
    One of those who share a list may go away.
    """
    redis.client_pause(100)
    first = asyncio.create_task(listings.of("u:alice"))
    second = asyncio.create_task(listings.of("u:alice"))
    await asyncio.sleep(0)
    first.cancel()

    assert [] == await second


async def test_redis_is_away(listings: Listings, redis: Redis, configure: Configure) -> None:
    """
    All who share a list are told that Redis does not answer.
    """
    configure(redis_timeout=50 * MS)
    listings = Listings(get_settings())
    redis.client_pause(1000)
    answers = await asyncio.gather(*(listings.of("u:alice") for _ in range(2)), return_exceptions=True)
    redis.client_unpause()

    assert [Unavailable, Unavailable] == [type(answer) for answer in answers]
