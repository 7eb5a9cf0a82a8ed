"""What the tests share: one real Redis for the session, emptied before each test, and both colours of a round trip."""

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol, TypeVar

import pytest
import redis as redis_py

from qrsocket import clients
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from qrsocket.roundtrip import Call, arun, run
from qrsocket.settings import get_settings
from tests import engine
from tests.clients import PATIENCE, Open, opening
from tests.machine import pace

T = TypeVar("T")

# What waits in a test waits for multiples of this: a ms of an idle machine, as long as it takes on this one now.
MS = 0.001 * pace()


def pytest_report_header() -> list[str]:
    compose = "a Docker engine answers" if engine.answers() else engine.REASON
    return [f"compose: {compose}", f"machine: {pace():.1f} times as long as on an idle one"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group what shares processes. Where a skip counts as a failure, leave out what cannot run: the header says why."""
    for item in items:
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))
    if "CI" in os.environ and not engine.answers():
        left_out = [item for item in items if "/compose/" in item.nodeid]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _group(item: pytest.Item) -> str | None:
    """Name the tests that share processes: in one process of pytest-xdist these are started once."""
    if not isinstance(item, pytest.Function):
        return None
    found = {name: definitions[-1] for name, definitions in item._fixtureinfo.name2fixturedefs.items()}
    shared = {name: fixture.scope for name, fixture in found.items() if fixture.scope in {"module", "package"}}
    place = item.path.stem if "module" in shared.values() else item.path.parent.name
    params = item.callspec.params if hasattr(item, "callspec") else {}
    variant = [getattr(params[name], "__name__", params[name]) for name in sorted(shared) if name in params]
    return "-".join(map(str, [place, *variant])) if shared else None


class RoundTrip(Protocol):
    async def __call__(self, call: Call[T], *, timeout: float = ...) -> T: ...


class Configure(Protocol):
    def __call__(self, **settings: object) -> None: ...


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """
    A server that all settings of the session point to, subprocesses included.

    It is emptied before each test that uses it. What lives longer than a test, or kills, freezes or fills its server,
    starts its own with `embedded_redis()` and points to it with `configure(redis_url=...)`.
    """
    with embedded_redis() as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("QRSOCKET_REDIS_URL", server.url)
        get_settings.cache_clear()
        yield server
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def _redis_client(redis_server: EmbeddedRedis) -> Iterator[redis_py.Redis]:
    with redis_py.Redis.from_url(redis_server.url, socket_timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def redis(_redis_client: redis_py.Redis) -> redis_py.Redis:
    """A client to look into the server with. Answers are bytes."""
    return _redis_client


@pytest.fixture(autouse=True)
def _fresh_start(request: pytest.FixtureRequest) -> None:
    """Empty Redis before a test that uses it, and close the clients of an async test's event loop after it."""
    if "redis_server" in request.fixturenames:
        request.getfixturevalue("_redis_client").flushall()
        request.getfixturevalue("_unchanged")
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_closed_clients")


@pytest.fixture(scope="session")
def _configuration(_redis_client: redis_py.Redis) -> object:
    return _redis_client.config_get()


@pytest.fixture
def _unchanged(_redis_client: redis_py.Redis, _configuration: object) -> Iterator[None]:
    """Fail a test that leaves another configuration to those after it: it needs a server of its own."""
    yield
    assert _configuration == _redis_client.config_get()


@pytest.fixture
async def _closed_clients() -> AsyncIterator[None]:
    yield
    await clients.aclose()


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Change settings until the test ends, for subprocesses too: `configure(lease=0.2, shards=3)`."""

    def change(**settings: object) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"QRSOCKET_{name.upper()}", str(value))
        get_settings.cache_clear()

    yield change
    monkeypatch.undo()  # here, so that nobody reads the settings of this test once more
    get_settings.cache_clear()


@pytest.fixture
def own_server(configure: Configure) -> Iterator[EmbeddedRedis]:
    """A server of this test alone, that all verbs use."""
    with embedded_redis() as server:
        configure(redis_url=server.url)
        yield server


@pytest.fixture
def own_redis(own_server: EmbeddedRedis) -> Iterator[redis_py.Redis]:
    with redis_py.Redis.from_url(own_server.url) as client:
        yield client


@pytest.fixture(params=["sync", "async"])
def roundtrip(request: pytest.FixtureRequest, redis_server: EmbeddedRedis) -> RoundTrip:
    """Sends a Call: blocking, in a thread, or awaiting. A test that uses it runs once with each."""

    async def send(call: Call[T], *, timeout: float = PATIENCE) -> T:
        settings = get_settings()
        if request.param == "sync":
            return await asyncio.to_thread(run, clients.blocking(settings), call, timeout=timeout)
        return await arun(clients.awaiting(settings), call, timeout=timeout)

    return send


async def until(condition: Callable[[], Any], *, timeout: float = PATIENCE) -> Any:
    """Ask *condition* every 5 ms until its answer is truthy, and return that. For what sends no event: Redis, say."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} s; last answer: {answer!r}"
        await asyncio.sleep(5 * MS)
    return answer


@pytest.fixture
async def open_client() -> AsyncIterator[Open]:
    """Connect, until the test ends: `client = await open_client(address, "/socket?user=alice")`."""
    async with opening() as open:
        yield open
