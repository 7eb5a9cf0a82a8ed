"""OpenTelemetry in web and worker: what users see stays as it is, and a job belongs to the trace of its request."""

from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest
from redis import Redis

from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import PATIENCE, Open
from tests.collector import Collector, collecting
from tests.conftest import until
from tests.tools.installed import need
from tests.tools.running import web, worker
from tests.tools.shop import SECRET
from tests.tools.tour import is_ours, use_sockets, watch_jobs
from tests.watching import watch

need(
    "opentelemetry-exporter-otlp-proto-http",
    *(f"opentelemetry-instrumentation-{name}" for name in ("asgi", "celery", "fastapi", "redis")),
)

from tests.spans import Trace, paths, spans_of  # noqa: E402 - it may not be installed

SHOP = "tests.tools.with_opentelemetry"
TASK = "run/tests.tools.shop"
REDIS = 3  # the kind of a span of a client


@pytest.fixture
def spans_go_to() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


async def test_opentelemetry(env: dict[str, str], redis: Redis, open_client: Open, spans_go_to: Collector) -> None:
    """
    Jobs and sockets work as without OpenTelemetry. A job belongs to the trace of the request that has queued it, and an
    error of a task is told with its span, once.
    """
    env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": spans_go_to.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with web(f"{SHOP}:make_app", env, "--factory") as node, worker(f"{SHOP}:jobs", env):
        alice = await watch(node, open_client)
        await watch_jobs(alice)
        await use_sockets(node, redis)
        await until(lambda: {f"{TASK}.say", f"{TASK}.take_long"} <= {span.name for span in spans_of(spans_go_to)})

        assert is_ours(alice)
    told = spans_of(spans_go_to)
    traces = {span.name: span.trace_id for span in told}
    assert [f"{TASK}.fail"] == [span.name for span in told for event in span.events if event.name == "exception"]
    for path, task in (("/count", "count"), ("/count-later", "count_later"), ("/queue-another", "say")):
        assert traces[f"POST /socket{path}"] == traces[f"{TASK}.{task}"]
    assert [] == [span for span in told if SECRET in str(span)]


@pytest.mark.parametrize("beside", ["both", "web", "worker"])
async def test_our_traces_beside_theirs(
    env: dict[str, str], redis_server: EmbeddedRedis, open_client: Open, spans_go_to: Collector, beside: str
) -> None:
    """
    Where their instrumentation of Celery is, a task has its span from that, else from us: in one trace, and once.
    """
    broker = redis_server.url.removesuffix("/0") + "/1"
    env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": spans_go_to.url, "OTEL_BSP_SCHEDULE_DELAY": "20", "TRACED_BROKER": broker}
    ours, with_theirs = "tests.tools.traced", "tests.tools.traced_beside"
    app, *options = [f"{ours}:app"] if beside == "worker" else [f"{with_theirs}:make_app", "--factory"]
    with web(app, env, *options) as node, worker(f"{ours if beside == 'web' else with_theirs}:jobs", env):
        alice = await open_client(f"127.0.0.1:{node.port}", "/socket?user=alice")
        trace = Trace(spans_go_to)
        order = {"task": "tell_at_second", "user": "alice", "message": "hi"}
        async with httpx2.AsyncClient(timeout=PATIENCE, trust_env=False) as http:
            await http.post(f"{node.url}/queue", json=order, headers=trace.headers)
        assert "hi" == await alice.receive_text()
        await until(lambda: "deliver user" in {span.name for span in trace.spans})

    task = "tell_at_second"
    queue = f"send {task}" if beside == "worker" else f"apply_async/{task}"
    run, retry = (f"process {task}", f"send {task}") if beside == "web" else (f"run/{task}", f"apply_async/{task}")
    way = ["POST /queue", queue, run, retry, run, "send user", "deliver user"]
    spans = [span for span in trace.spans if span.kind != REDIS]
    assert Counter(" > ".join(way[:end]) for end in range(1, len(way) + 1)) == paths(spans)
