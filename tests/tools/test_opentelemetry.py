"""OpenTelemetry in web and worker: what users see stays as it is, and a job belongs to the trace of its request."""

from collections.abc import Iterator
from typing import Any

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

need(
    "opentelemetry-exporter-otlp-proto-http",
    *(f"opentelemetry-instrumentation-{name}" for name in ("asgi", "celery", "fastapi", "redis")),
)

SHOP = "tests.tools.with_opentelemetry"
TASK = "run/tests.tools.shop"


@pytest.fixture
def spans_go_to() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def spans(collector: Collector) -> list[Any]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    requests = [ExportTraceServiceRequest.FromString(body) for body in collector.bodies("/v1/traces")]
    scopes = [scope for request in requests for each in request.resource_spans for scope in each.scope_spans]
    return [span for scope in scopes for span in scope.spans]


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
        await until(lambda: {f"{TASK}.say", f"{TASK}.take_long"} <= {span.name for span in spans(spans_go_to)})

        assert is_ours(alice)
    told = spans(spans_go_to)
    traces = {span.name: span.trace_id for span in told}
    assert [f"{TASK}.fail"] == [span.name for span in told for event in span.events if event.name == "exception"]
    for path, task in (("/count", "count"), ("/count-later", "count_later"), ("/queue-another", "say")):
        assert traces[f"POST /socket{path}"] == traces[f"{TASK}.{task}"]
    assert [] == [span for span in told if SECRET in str(span)]
