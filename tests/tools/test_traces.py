"""One trace from a request to the write on each node, as a collector of OpenTelemetry is told of it."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from qrsocket.testing import client
from tests.clients import PATIENCE, Open
from tests.collector import Collector, collecting
from tests.conftest import until
from tests.running import WebNode, web_node, worker
from tests.tools.installed import need

need("opentelemetry-exporter-otlp-proto-http")

from tests.spans import Trace, facts, paths, spans_of  # noqa: E402 - it may not be installed

APP = "tests.tools.traced"
SECRET = "sesame"
CONNECTED = "WS /socket"
WRITTEN = "send user > deliver user"
RUN = "POST /queue > send {0} > process {0}"


@dataclass
class Stage:
    collector: Collector
    nodes: list[WebNode]

    async def post(self, path: str, **body: str) -> Trace:
        trace = Trace(self.collector)
        async with httpx2.AsyncClient(timeout=PATIENCE, trust_env=False) as http:
            answer = await http.post(f"{self.nodes[0].url}{path}", json=body, headers=trace.headers)
        assert answer.status_code == 200, answer.text
        return trace

    async def trace(self, path: str, expected: dict[str, int], **body: str) -> Trace:
        """Return the trace of a request once it has as many spans as are *expected*."""
        trace = await self.post(path, **body)
        await until(lambda: len(trace.spans) >= sum(expected.values()))
        assert Counter(expected) == trace.paths
        return trace


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, broker: EmbeddedRedis) -> Iterator[Stage]:
    """A worker and two nodes. The worker's pool is prefork, or what a test names."""
    with embedded_redis() as redis, collecting() as collector, ExitStack() as stack:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            "QRSOCKET_REDIS_URL": redis.url,
            "TRACED_BROKER": broker.url,
        }
        running = stack.enter_context(worker(env, app=f"{APP}:jobs", pool=getattr(request, "param", "prefork")))
        stack.callback(running.kill)  # an orderly end takes gevent 5 s
        yield Stage(collector, [stack.enter_context(web_node(env=env, app=f"{APP}:app")) for _ in range(2)])


async def test_a_request_that_sends(stage: Stage, open_client: Open) -> None:
    """
    The send belongs to the request, and each node that writes the message to the send. No span has the payload, or who
    it was for.
    """
    devices = [await open_client(f"127.0.0.1:{node.port}", "/socket?user=alice") for node in stage.nodes]
    expected = {"POST /send": 1, "POST /send > send user": 1, f"POST /send > {WRITTEN}": 2}
    trace = await stage.trace("/send", expected, user="alice", message=SECRET)

    assert [SECRET] * 2 == [await device.receive_text() for device in devices]
    sent = next(span for span in trace.spans if span.name == "send user")
    delivered = [span for span in trace.spans if span.name == "deliver user"]
    message_id = facts(sent)["messaging.message.id"]
    assert facts(sent) == {
        "messaging.system": "qrsocket",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.template": "user",
        "messaging.message.id": message_id,
        "qrsocket.kind": "text",
        "qrsocket.recipients": 1,
        "qrsocket.connections": 2,
        "qrsocket.nodes": 2,
        "qrsocket.repeated": False,
    }
    assert facts(delivered[0]) == {
        "messaging.system": "qrsocket",
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "process",
        "messaging.destination.template": "user",
        "messaging.message.id": message_id,
        "qrsocket.connections": 1,
    }
    producer, consumer = 4, 5
    assert [producer, consumer, consumer] == [span.kind for span in (sent, *delivered)]
    assert {"test=1"} == {span.trace_state for span in trace.spans}
    assert all(0 < span.end_time_unix_nano - span.start_time_unix_nano < PATIENCE * 1e9 for span in delivered)
    assert [] == [span for span in trace.spans if SECRET in str(span) or "alice" in str(span)]


async def test_nobody_is_online(stage: Stage) -> None:
    """
    There is a send, and nothing that was written.
    """
    await stage.trace("/send", {"POST /send": 1, "POST /send > send user": 1}, user="nobody", message="hi")


async def test_an_order(stage: Stage, open_client: Open) -> None:
    """
    The order to close connections is traced as a message is.
    """
    bob = await open_client(f"127.0.0.1:{stage.nodes[1].port}", "/socket?user=bob")
    expected = {"POST /close": 1, "POST /close > send user": 1, f"POST /close > {WRITTEN}": 1}
    await stage.trace("/close", expected, user="bob")

    assert 4321 == await bob.closed()


async def test_a_message_of_a_client(stage: Stage, open_client: Open) -> None:
    """
    Its handler begins a trace, to which belongs what it sends.
    """
    carol = await open_client(f"127.0.0.1:{stage.nodes[0].port}", "/socket?user=carol")
    await carol.send("hi")
    await carol.receive_text()

    def handled() -> list[Any]:
        spans = spans_of(stage.collector)
        ids = {span.trace_id for span in spans if span.name == "handle on_message"}
        return [span for span in spans if span.trace_id in ids]

    expected = {"handle on_message": 1, "handle on_message > send user": 1, f"handle on_message > {WRITTEN}": 1}
    await until(lambda: len(handled()) >= 3)
    assert Counter(expected) == paths(handled())
    await carol.connection.close()
    (parent, (link,)) = next((one.parent_span_id, one.links) for one in handled() if one.name == "handle on_message")
    assert b"" == parent
    await until(lambda: link.span_id in {span.span_id for span in spans_of(stage.collector) if span.name == CONNECTED})


@pytest.mark.parametrize("task", ["tell", "tell_later"])
async def test_a_task(stage: Stage, open_client: Open, task: str) -> None:
    """
    A task, async ones too, belongs to what has queued it, and what it sends to the task.
    """
    await open_client(f"127.0.0.1:{stage.nodes[1].port}", "/socket?user=dave")
    run = RUN.format(task)
    expected = {
        "POST /queue": 1,
        f"POST /queue > send {task}": 1,
        run: 1,
        f"{run} > send user": 1,
        f"{run} > {WRITTEN}": 1,
    }
    trace = await stage.trace("/queue", expected, task=task, user="dave", message=SECRET)

    queued = next(span for span in trace.spans if span.name == f"send {task}")
    ran = next(span for span in trace.spans if span.name == f"process {task}")
    assert ("celery", "send", "traced") == tuple(
        facts(queued)[name] for name in ("messaging.system", "messaging.operation.type", "messaging.destination.name")
    )
    assert facts(queued)["messaging.message.id"] == facts(ran)["messaging.message.id"]
    assert [] == [span for span in trace.spans if SECRET in str(span)]


def with_child() -> dict[str, int]:
    run = RUN.format("tell_in_child")
    way = ["POST /queue", "POST /queue > send tell_in_child", run]
    way += [f"{run} > send tell", f"{run} > send tell > process tell", f"{run} > send tell > process tell > send user"]
    return dict.fromkeys(way, 1)


async def test_a_child(stage: Stage) -> None:
    """
    A task that a task queues belongs to that.
    """
    await stage.trace("/queue", with_child(), task="tell_in_child", user="nobody", message="hi")


async def test_a_retry(stage: Stage) -> None:
    """
    The second run belongs to the first, which has not failed.
    """
    run = RUN.format("tell_at_second")
    again = f"{run} > send tell_at_second > process tell_at_second"
    trace = await stage.trace(
        "/queue",
        {
            "POST /queue": 1,
            "POST /queue > send tell_at_second": 1,
            run: 1,
            f"{run} > send tell_at_second": 1,
            again: 1,
            f"{again} > send user": 1,
        },
        task="tell_at_second",
        user="nobody",
        message="hi",
    )

    ran = [facts(span) for span in trace.spans if span.name == "process tell_at_second"]
    assert {None, 1} == {run.get("celery.retries") for run in ran}
    assert [None, None] == [run.get("error.type") for run in ran]


async def test_a_chord(stage: Stage) -> None:
    """
    Its parts belong to the request, and its body to the part that ended last.
    """
    run = "POST /chord > send part > process part"
    body = f"{run} > send tell_parts > process tell_parts"
    await stage.trace(
        "/chord",
        {
            "POST /chord": 1,
            "POST /chord > send part": 2,
            run: 2,
            f"{run} > send tell_parts": 1,
            body: 1,
            f"{body} > send user": 1,
        },
        user="nobody",
        message="ab",
    )


async def test_a_task_that_fails(stage: Stage) -> None:
    """
    Its span has the class of the error, and not the text.
    """
    expected = {"POST /queue": 1, "POST /queue > send fail": 1, RUN.format("fail"): 1}
    trace = await stage.trace("/queue", expected, task="fail", user="nobody", message=SECRET)

    failed = next(span for span in trace.spans if span.name == "process fail")
    error = 2
    assert (error, "ValueError") == (failed.status.code, facts(failed)["error.type"])
    assert [] == [span for span in trace.spans if SECRET in str(span)]


async def test_recovered_after_a_reconnect(stage: Stage) -> None:
    """
    What a client gets when it comes back is in no trace of its senders, and has links to all of them.
    """
    async with client(stage.nodes[0].url, query={"user": "erin"}, timeout=PATIENCE) as erin:
        await erin.disconnect()
        sent = [await stage.post("/send", user="erin", message=word) for word in ("a", "b")]
        await erin.reconnect()
        assert ["a", "b"] == [await erin.receives(), await erin.receives()]

        await until(lambda: [span for span in spans_of(stage.collector) if span.name == "recover user"])
    (recovered,) = [span for span in spans_of(stage.collector) if span.name == "recover user"]
    origins = [span for trace in sent for span in trace.spans if span.name == "send user"]
    assert [(span.trace_id, span.span_id) for span in origins] == [
        (link.trace_id, link.span_id) for link in recovered.links
    ]
    assert 2 == facts(recovered)["messaging.batch.message_count"]
    assert recovered.trace_id not in {span.trace_id for span in origins}
    assert {"POST /send", "POST /send > send user"} == {path for trace in sent for path in trace.paths}


@pytest.mark.parametrize("stage", ["threads", "gevent"], indirect=True)
async def test_tasks_that_run_at_once(stage: Stage) -> None:
    """
    In one process, too, each belongs to its own request.
    """
    order = {"task": "tell_in_child", "user": "nobody", "message": "hi"}
    traces = [stage.trace("/queue", with_child(), **order) for _ in range(8)]
    ids = {span.trace_id for trace in await asyncio.gather(*traces) for span in trace.spans}

    assert 8 == len(ids)
