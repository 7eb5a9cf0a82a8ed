"""Datadog and New Relic, whose commands start web and worker and patch what these import."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.clients import Open
from tests.collector import Collector, collecting
from tests.conftest import until
from tests.tools.installed import need
from tests.tools.running import web, worker
from tests.tools.shop import SECRET
from tests.tools.tour import is_ours, use_sockets, watch_jobs
from tests.watching import watch

need("ddtrace", "newrelic")

APP, JOBS = "tests.tools.shop:app", "tests.tools.shop:jobs"
BIN = Path(sys.executable).parent


@pytest.fixture
def agent() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


async def test_datadog(env: dict[str, str], redis: Redis, open_client: Open, agent: Collector) -> None:
    """
    Jobs and sockets work as without Datadog, and its agent is sent traces of both, without what was sent.
    """
    env |= {"DD_TRACE_AGENT_URL": agent.url, "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"}
    env |= {"DD_REMOTE_CONFIGURATION_ENABLED": "false"}
    # Where gevent is installed, it has asyncio loaded twice otherwise, and `asyncio.timeout` raises no TimeoutError.
    env["DD_UNLOAD_MODULES_FROM_SITECUSTOMIZE"] = "0"
    command = [str(BIN / "ddtrace-run")]
    with web(APP, env, before=command) as node, worker(JOBS, env, before=command):
        alice = await watch(node, open_client)
        await watch_jobs(alice)
        await use_sockets(node, redis)
        wanted = (b"tests.tools.shop.count", b"/socket/count")
        await until(lambda: all(any(word in body for _, body in tuple(agent.taken)) for word in wanted))

        assert is_ours(alice)

    assert [] == [path for path, body in agent.taken if SECRET.encode() in body]


async def test_new_relic(env: dict[str, str], redis: Redis, open_client: Open) -> None:
    """
    Jobs and sockets work as without New Relic.
    """
    env |= {"NEW_RELIC_DEVELOPER_MODE": "true", "NEW_RELIC_LICENSE_KEY": "0" * 40, "NEW_RELIC_APP_NAME": "shop"}
    env |= {"NEW_RELIC_LOG": "stderr", "NEW_RELIC_LOG_LEVEL": "info"}
    command = [str(BIN / "newrelic-admin"), "run-program"]
    with web(APP, env, before=command) as node, worker(JOBS, env, before=command) as tasks:
        alice = await watch(node, open_client)
        await watch_jobs(alice)
        await use_sockets(node, redis)

        assert is_ours(alice)
        for process in (node, tasks):
            process.wait_for("New Relic Python Agent")
