"""
The pytest plugin of qrsocket: a Redis, Celery workers and settings for tests. See docs/testing.md.

A module of its own beside the package, since pytest loads it in every test run where qrsocket is installed, and the
package takes half a second to import. Nothing of it is imported before a test asks for a fixture.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from qrsocket.testing import RedisServer, Running


@pytest.fixture(scope="session")
def qrsocket_redis_server() -> Iterator["RedisServer"]:
    """A Redis for all tests of the session, to which the settings point. For fixtures that live longer than a test."""
    from qrsocket.testing.redis_server import redis_server

    with redis_server() as server:
        yield server


@pytest.fixture
def qrsocket_redis(qrsocket_redis_server: "RedisServer") -> Iterator["RedisServer"]:
    """An empty Redis, to which the settings point. A test may kill and restart it."""
    from qrsocket.testing.processes import has_workers

    qrsocket_redis_server.empty(broker=not has_workers())
    yield qrsocket_redis_server
    # Tasks that nobody took would be run by the worker of another test.
    qrsocket_redis_server.empty(broker=not has_workers())


@pytest.fixture
def qrsocket_worker(qrsocket_redis: "RedisServer") -> Iterator[Callable[..., "Running"]]:
    """
    Start Celery workers, until the test ends: `worker = qrsocket_worker("worker.app", pool="prefork", concurrency=2)`.

    It returns when the worker is ready to take tasks, and takes what `qrsocket.testing.worker` takes.
    """
    from qrsocket.testing.processes import worker

    with ExitStack() as stack:

        def start(app: str, **options: Any) -> "Running":
            running = stack.enter_context(worker(app, **options))
            stack.callback(running.kill)  # an orderly end takes seconds
            return running

        yield start


@pytest.fixture
def qrsocket_settings() -> Iterator[Callable[..., None]]:
    """
    Change settings until the test ends, for processes that it starts too: `qrsocket_settings(offline_grace=0.05)`.

    A web node and a worker read them when they start.
    """
    from qrsocket.testing.redis_server import environment

    with ExitStack() as stack:

        def change(**settings: object) -> None:
            words = {f"QRSOCKET_{name.upper()}": str(value) for name, value in settings.items()}
            stack.enter_context(environment(**words))

        yield change
