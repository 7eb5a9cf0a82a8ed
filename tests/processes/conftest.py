"""A broker for Celery, and a worker of each pool, one after the other."""

from collections.abc import Iterator

import pytest

from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from tests.processes.shapes import app
from tests.running import Running, worker

app.finalize()  # here, and not by whichever thread or signal is the first to ask for its tasks


@pytest.fixture(scope="session", autouse=True)
def broker() -> Iterator[EmbeddedRedis]:
    """
    A server of its own for Celery: the one that `qrsocket` uses is emptied before each test.

    For every test, also for one that queues nothing: what the application connects to first it keeps.
    """
    with embedded_redis() as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("SHAPES_BROKER", server.url)
        app.conf.update(broker_url=server.url, result_backend=server.url)
        yield server


# Not for the session: other tests count what Redis is asked, and a worker renews its lease there.
@pytest.fixture(scope="module", params=["prefork", "threads", "solo", "gevent"])
def pool(request: pytest.FixtureRequest, broker: EmbeddedRedis, redis_server: EmbeddedRedis) -> Iterator[Running]:
    """
    A worker of `tests.processes.shapes`. A test that uses it runs once in each pool, or in those that it names:
    `@pytest.mark.parametrize("pool", ["prefork"], indirect=True)`.
    """
    concurrency = 2 if request.param == "prefork" else 8
    with worker(app="tests.processes.shapes", pool=request.param, concurrency=concurrency) as running:
        yield running
        running.kill()  # an orderly end takes gevent 5 s
