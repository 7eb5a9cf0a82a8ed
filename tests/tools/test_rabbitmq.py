"""RabbitMQ as Celery's broker, with Redis for what is ours alone."""

from collections.abc import Iterator

import pytest

from tests.clients import Open
from tests.tools.installed import need_here
from tests.tools.rabbitmq import is_installed, rabbitmq
from tests.tools.running import web, worker
from tests.tools.tour import watch_jobs
from tests.watching import watch

need_here(is_installed(), "rabbitmq-server, a package of Debian's")

APP, JOBS = "tests.tools.shop:app", "tests.tools.shop:jobs"


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with rabbitmq() as address:
        yield address


async def test_jobs(broker: str, env: dict[str, str], open_client: Open) -> None:
    """
    Jobs are told of and cancelled: those that run, and one that no worker has taken, which then never runs.
    """
    env["SHOP_BROKER"] = broker
    with web(APP, env) as node:
        alice = await watch(node, open_client)
        waiting = await alice.start("/count", words=["never"])
        await alice.sees(waiting, "queued")
        await alice.cancel(waiting)
        await alice.sees_end_of(waiting)
        with worker(JOBS, env):
            await watch_jobs(alice)

    assert ["queued", "cancelled"] == alice.states(waiting)
    assert {"word": "never"} not in alice.messages


async def test_a_worker_that_is_killed(broker: str, env: dict[str, str], open_client: Open) -> None:
    """
    A job that is acknowledged late is given to another worker when the first has been killed, and told of to its end.
    """
    env["SHOP_BROKER"] = broker
    with web(APP, env) as node, worker(JOBS, env) as first:
        alice = await watch(node, open_client)
        job = await alice.start("/take-long-once")
        await alice.hears({"begun": job})
        first.kill()
        with worker(JOBS, env) as second:
            await alice.sees_end_of(job)
            second.kill()

    assert ["queued", "started", "requeued", "started", "succeeded"] == alice.states(job)
