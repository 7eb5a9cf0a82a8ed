"""What a span says, and what it must not change. tests/tools/test_traces.py has whole traces."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from redis import Redis

import qrsocket.sync
from qrsocket import Unavailable, events, socket, spans, traces
from qrsocket.celery import install
from qrsocket.server import SocketRouter
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.app.speaking import OpenSpeaker
from tests.clients import Open
from tests.conftest import MS, Configure, until
from tests.tools.installed import need

need("opentelemetry-sdk")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: E402 - it may not be installed
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF  # noqa: E402


class Told:
    """What the process has told of."""

    def __init__(self) -> None:
        self.exporter, self.provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def of(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def facts(self, name: str, *keys: str) -> list[tuple[Any, ...]]:
        return [tuple((span.attributes or {}).get(key) for key in keys) for span in self.of(name)]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    monkeypatch.setattr(spans, "tracer", None)
    told = Told()
    traces.trace(told.provider)
    yield told
    told.provider.shutdown()


@pytest.mark.parametrize("keys", ["", "k" * 32], ids=["unsigned", "signed"])
async def test_clients_see_nothing_of_it(
    serve: Serve, open_client: Open, open_speaker: OpenSpeaker, configure: Configure, told: Told, keys: str
) -> None:
    """
    What arrives is what is sent, in both protocols, kept and not, signed and not, blocking and awaiting; orders too.
    """
    if keys:
        configure(signing_keys=keys)
    address = await serve(router_of_named_users())
    plain, page = await open_client(address, "/socket?user=alice"), await open_speaker(address, "alice")
    await page.hello()
    await socket.to("alice").send(1)
    await asyncio.to_thread(qrsocket.sync.socket.to(["alice", "bob"]).send, 2)
    await socket.everyone.send(3)
    await socket.to("alice").send(4, latest="score")
    await socket.to("alice").close(4321)

    assert [1, 2, 3, 4] == [await plain.receive() for _ in range(4)]
    frames = [str(await page.client.receive_text()) for _ in range(4)]
    assert ["1", "2", "- t=*\n3", "- k=score\n4"] == [*(frame.partition("\n")[2] for frame in frames[:2]), *frames[2:]]
    assert 4321 == await plain.closed()
    await until(lambda: len(told.of("deliver user")) == 4)
    parents = [span.parent and span.parent.span_id for span in told.of("deliver user")]
    assert parents == [span.context and span.context.span_id for span in told.of("send user")]
    assert [(2, 2, "json"), (1, 2, "json")] == told.facts(
        "send user", "qrsocket.recipients", "qrsocket.connections", "qrsocket.kind"
    )[1::-1]
    assert [(2,)] == told.facts("deliver everyone", "qrsocket.connections")


async def test_a_message_that_is_sent_again(serve: Serve, open_client: Open, told: Told) -> None:
    """
    Each attempt is a span under the id that the sender knows, and the node has written one.
    """
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")
    for _ in range(2):
        await socket.to("alice").send("hi", message_id="order:17")
    await alice.receive_text()
    await until(lambda: told.of("deliver user"))

    sent = told.facts("send user", "messaging.message.id", "qrsocket.repeated")
    assert [("order:17", False), ("order:17", True)] == sent
    assert [("order:17",)] == told.facts("deliver user", "messaging.message.id")


async def test_what_is_not_sampled(serve: Serve, open_client: Open, redis: Redis, told: Told) -> None:
    """
    It travels as if nothing was traced.
    """
    traces.trace(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")
    await socket.to("alice").send("hi")
    assert "hi" == await alice.receive_text()

    (key,) = redis.keys("*history:u:alice")
    ((_, fields),) = redis.xrange(key)
    assert {b"k": b"t", b"p": b"hi"} == fields
    assert () == told.exporter.get_finished_spans()


async def test_what_could_not_be_sent(configure: Configure, redis_server: Any, told: Told) -> None:
    """
    The span has failed, with the class of the error; observers are told as ever.
    """
    configure(redis_url="redis://127.0.0.1:1/7", redis_timeout=50 * MS)
    with pytest.raises(Unavailable):
        await socket.to("alice").send("hi")

    assert [("Unavailable",)] == told.facts("send user", "error.type")
    assert [False] == [span.status.is_ok for span in told.of("send user")]
    assert () == events.observers


async def test_a_handler_that_fails(serve: Serve, open_client: Open, told: Told) -> None:
    """
    Its span is found by the id that the client is told, and has the class of the error and not the text.
    """
    router = SocketRouter()
    router.on_connect(lambda user: user)

    @router.on_message
    async def on_message(data: str) -> None:
        raise ValueError(data)

    alice = await open_client(await serve(router), "/socket?user=alice")
    await alice.send("sesame")
    said = (await alice.receive())["error"]
    ((request_id, error),) = told.facts(
        "handle test_a_handler_that_fails.<locals>.on_message", "messaging.message.id", "error.type"
    )

    assert (f"Internal error ({request_id})", "ValueError") == (said, error)
    assert "sesame" not in str([span.to_json() for span in told.exporter.get_finished_spans()])


async def test_a_tracer_that_fails(
    serve: Serve, open_client: Open, open_speaker: OpenSpeaker, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What a node has to tell of is logged, and its clients get their messages.
    """

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    for name in ("delivered", "recovered"):
        monkeypatch.setattr(traces.Traces, name, fail)
    address = await serve(router_of_named_users())
    alice = await open_speaker(address, "alice")
    await alice.hello()
    await socket.to("alice").send("1")
    assert "1" == await alice.receive()
    await alice.cut()
    await socket.to("alice").send("2")
    again = await open_speaker(address, "alice")
    await again.hello(alice.position)
    await socket.to("alice").send("3")

    assert ["2", "3"] == [await again.receive() for _ in range(2)]


async def test_a_task_that_runs_inside_its_caller(told: Told, redis_server: Any) -> None:
    """
    An eager task belongs to the span of its caller, which is the current one again afterwards.
    """
    app = install(Celery("eager", set_as_current=False))
    app.conf.task_always_eager = True

    @app.task(name="tell", shared=False)
    def tell() -> None:
        qrsocket.sync.socket.to("alice").send("hi")

    with told.provider.get_tracer("test").start_as_current_span("caller") as caller:
        tell.delay()
        tell.delay()

    ran = told.of("process tell")
    assert [caller.get_span_context().span_id] * 2 == [span.parent and span.parent.span_id for span in ran]
    assert [one.context and one.context.span_id for one in ran] == [
        span.parent and span.parent.span_id for span in told.of("send user")
    ]
    assert [] == told.of("send tell")
