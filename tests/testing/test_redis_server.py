"""A Redis that tests may kill and start again."""

import os
from collections.abc import Iterator

import pytest
import redis

from qrsocket import Unavailable, socket
from qrsocket.settings import get_settings
from qrsocket.sync import socket as blocking
from qrsocket.testing import RedisServer, client
from qrsocket.testing.redis_server import environment, redis_server
from tests.clients import PATIENCE
from tests.conftest import MS, Configure
from tests.testing import shops


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def put(server: RedisServer, db: int = 0) -> None:
    with server.client(db) as client:
        client.set("key", "value")


def has(server: RedisServer, db: int = 0) -> bool:
    with server.client(db) as client:
        return bool(client.exists("key"))


def test_found() -> None:
    """
    While it runs, settings and Celery's environment name it; then they are as they were.
    """
    before = dict(os.environ)
    with redis_server() as server:
        assert server.url == get_settings().redis_url.get_secret_value()
        assert server.broker_url == os.environ["CELERY_BROKER_URL"]
        assert server.is_running
    assert before == os.environ
    assert server.url != get_settings().redis_url.get_secret_value()
    assert not server.is_running


def test_restart(server: RedisServer) -> None:
    """
    It comes back on its port, empty or with all it had, each time anew.
    """
    port, url = server.port, server.url
    for keep_data in (True, True, False, True, False):
        put(server)
        server.restart(keep_data=keep_data)

        assert keep_data == has(server)
        assert (port, url) == (server.port, server.url)


def test_kill(server: RedisServer) -> None:
    """
    Killed, it is gone with what it had until it is started; a restart, or an emptying, starts it, too.
    """
    for start in (
        server.start,
        server.restart,
        lambda: server.empty(broker=False),
        lambda: server.restart(keep_data=True),
    ):
        put(server)
        server.kill()
        server.kill()
        assert not server.is_running
        with pytest.raises(redis.ConnectionError):
            has(server)

        start()
        assert server.is_running
        assert not has(server)


def test_sent_at_once(server: RedisServer, configure: Configure) -> None:
    """
    When it is back it is sent to at once, though who failed to reach it would not try again for a second.
    """
    configure(redis_timeout=100 * MS)
    server.kill()
    with pytest.raises(Unavailable):
        blocking.to("alice").send("hello")
    server.start()

    assert not blocking.to("alice").send("hello")


def test_empty(server: RedisServer) -> None:
    """
    The broker's database is left alone, unless told otherwise.
    """
    for broker in (False, True):
        put(server)
        put(server, 1)
        server.empty(broker=broker)

        assert not has(server)
        assert (not broker) == has(server, 1)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What was set before is set again, also when blocks end after those that began later.
    """
    monkeypatch.setenv("QRSOCKET_LEASE", "20")
    with environment(QRSOCKET_LEASE="30", QRSOCKET_RATE="7"):
        assert (30, 7) == (get_settings().lease, get_settings().rate)
    assert (20, 20) == (get_settings().lease, get_settings().rate)


async def test_an_application_lives_through_it(server: RedisServer, configure: Configure) -> None:
    """
    A client stays connected while Redis is away, and is sent to when it is back, though a send has failed meanwhile.
    """
    configure(redis_timeout=300 * MS, renew_interval=20 * MS)
    async with client(shops.echo(), user="alice", timeout=PATIENCE) as alice:
        server.kill()
        with pytest.raises(Unavailable):
            await socket.to("alice").send({"n": 1})
        server.start()

        await socket.to("alice").send({"n": 2}, wait=5)
        await alice.receives({"n": 2})
        await alice.receives_nothing()
