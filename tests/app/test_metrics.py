"""What happens is told to who observes, and Prometheus can read it."""

import asyncio
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from socket import socket as socket_of_the_system
from typing import Any
from urllib.request import urlopen

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException
from httpx2 import AsyncClient
from prometheus_client import CollectorRegistry
from redis import Redis

from qrsocket import SocketError, Unavailable, events, socket
from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.errors import CloseCode
from qrsocket.events import (
    Behind,
    CircuitChanged,
    Closed,
    Connected,
    Counted,
    Event,
    GapTold,
    Handled,
    Heartbeat,
    HookRan,
    JobChanged,
    LeaseRenewed,
    MessageRefused,
    Missed,
    NotSent,
    Offered,
    Recovered,
    RedisAsked,
    Refused,
    Relayed,
    Sent,
)
from qrsocket.keys import Keyspace
from qrsocket.prometheus import Metrics
from qrsocket.server import SocketRouter
from qrsocket.settings import get_settings
from qrsocket.testing import client
from tests.app.conftest import Serve, serving
from tests.app.routers import router_of_named_users
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure, until
from tests.redis.outages import deafening
from tests.running import ROOT


class Seen(list[Event]):
    """An observer that keeps all."""

    def on_event(self, event: Event) -> None:
        self.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


@pytest.fixture
def seen() -> Any:
    seen = Seen()
    with events.observed(seen):
        yield seen


async def test_a_connection_and_what_is_sent_to_it(serve: Serve, open_client: Open, seen: Seen) -> None:
    """
    That it opens and ends is told with whose it is and why; what is sent, with how many it was routed to.
    """
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")
    delivery = await socket.to("alice").send("hi", message_id="m1")
    again = await socket.to("alice").send("hi", message_id="m1")
    nobody = await socket.to("bob").send({"n": 1})
    await alice.receive_text()
    await alice.connection.close(4321, "enough")
    await until(lambda: seen.of(Closed))

    (opened,), (closed,) = seen.of(Connected), seen.of(Closed)
    assert (opened.connection, "alice", "plain") == (closed.connection, opened.user, opened.protocol)
    assert ("alice", 4321, "enough") == (closed.user, closed.code, closed.reason)
    assert [("m1", "text", 1, False), ("m1", "text", 1, True), (nobody.message_id, "json", 0, False)] == [
        (sent.message_id, sent.kind, sent.connections, sent.repeated) for sent in seen.of(Sent)
    ]
    assert (delivery.repeated, again.repeated) == (False, True)
    assert all(0 < event.seconds < PATIENCE for event in (*seen.of(Sent), closed))


async def test_what_could_not_be_sent(configure: Configure, redis_server: Any, seen: Seen) -> None:
    """
    The cause is told.
    """
    configure(redis_url="redis://127.0.0.1:1/0", redis_timeout=50 * MS)
    with pytest.raises(Unavailable):
        await socket.to("alice").send("hi", message_id="m1")

    (lost,) = seen.of(NotSent)
    assert ("m1", "text", "ConnectionError") == (lost.message_id, lost.kind, lost.cause)


async def test_handlers_hooks_and_refusals(serve: Serve, open_client: Open, configure: Configure, seen: Seen) -> None:
    """
    A handler and a hook are told by their names, with the class of what they raised, and a refused handshake with its
    status.
    """
    configure(offline_grace=0)
    router = SocketRouter()
    ran = asyncio.Event()

    @router.on_connect
    async def on_connect(user: str) -> str:
        if user == "eve":
            raise HTTPException(403, "not you")
        return user

    @router.on_message
    async def on_message(data: int) -> int:
        if data < 0:
            raise SocketError("negative")
        return data

    @router.on_online
    async def on_online(user_id: str) -> None:
        ran.set()
        raise ValueError(user_id)

    address = await serve(router)
    alice = await open_client(address, "/socket?user=alice")
    await alice.send(1)
    await alice.send(-1)
    await alice.receive()
    with pytest.raises(Exception, match="403"):
        await open_client(address, "/socket?user=eve")
    await ran.wait()
    await until(lambda: seen.of(HookRan))

    assert [("on_message", "alice", None), ("on_message", "alice", "SocketError")] == [
        (handled.handler.rpartition(".")[2], handled.user, handled.error) for handled in seen.of(Handled)
    ]
    (hook,) = seen.of(HookRan)
    assert ("online", "alice", 1, "ValueError") == (hook.kind, hook.user, hook.attempt, hook.error)
    assert [(403, "HTTPException")] == [(refused.status, refused.cause) for refused in seen.of(Refused)]


async def test_an_observer_that_fails_harms_nobody(
    serve: Serve, open_client: Open, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    """
    It is logged, and the others are told.
    """

    class Broken:
        def on_event(self, event: Event) -> None:
            raise RuntimeError("broken")

    broken = Broken()
    with events.observed(broken), caplog.at_level("CRITICAL", logger="qrsocket"):
        events.observe(seen)
        alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")
        await socket.to("alice").send("hi")

        assert "hi" == await alice.receive_text()
    assert 1 == len(seen.of(Connected))


def values(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("qrsocket_"), *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket", "_sum"))
    }


def test_what_is_counted() -> None:
    """
    Each event is in its number; a code that any client may choose makes no number of its own.
    """
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for event in (
        Sent("m1", "json", 1, 2, False, 0.001),
        Sent("m1", "json", 1, 2, True, 0.001),
        Sent("m2", "json", 1, 0, False, 0.001),
        NotSent("m3", "close", "no answer", 2.0),
        Connected("c1", "alice", "plain"),
        Connected("c2", None, "qrsocket.v1"),
        Closed("c1", "alice", "plain", 4321, "", True, 1.0),
        Closed("c2", None, "qrsocket.v1", CloseCode.SLOW_CONSUMER, "", False, 1.0),
        Connected("c3", None, "plain"),
        Refused(403, "HTTPException"),
        Handled("on_message", "c1", None, None, 0.01),
        Handled("on_message", "c1", None, "ValueError", 0.01),
        HookRan("hook", "online", "alice", "alice:1", 1, "ValueError", 0.01),
        Missed(3, 5),
        GapTold("c1", "alice", "u:alice"),
        GapTold("c1", "alice", "t:room"),
        Relayed(3, (0.001, 0.002)),
        Behind("t:room", ("c1", "c2")),
        Recovered("c1", "alice", "t:room", 7, 1, 7, True),
        Heartbeat("n1", 0.001),
        RedisAsked("fanout/publish", None, 0.001),
        RedisAsked("fanout/publish", "Unavailable", 2.0),
        MessageRefused("c1", "alice", "rate"),
        Counted(users=3, topics=2, waiting_messages=4, waiting_bytes=512, behind=1),
        CircuitChanged(is_open=True),
        JobChanged("j1", "count", "alice", "queued", 1, None),
        JobChanged("j1", "count", "alice", "started", 1, 0.5),
        JobChanged("j1", "count", "alice", "succeeded", 1, 3.0),
    ):
        metrics.on_event(event)

    assert {
        ("messages_sent_total", "json", "routed"): 1,
        ("messages_sent_total", "json", "repeated"): 1,
        ("messages_sent_total", "json", "nobody"): 1,
        ("messages_sent_total", "close", "failed"): 1,
        ("send_seconds_count", "json"): 3,
        ("connections", "plain"): 1,
        ("connections", "qrsocket.v1"): 0,
        ("connections_opened_total", "plain"): 2,
        ("connections_opened_total", "qrsocket.v1"): 1,
        ("connections_closed_total", "other"): 1,
        ("connections_closed_total", "4000"): 1,
        ("handshakes_refused_total", "403", "HTTPException"): 1,
        ("handler_seconds_count", "on_message"): 2,
        ("handlers_failed_total", "on_message", "ValueError"): 1,
        ("hook_seconds_count", "online"): 1,
        ("hooks_failed_total", "online", "ValueError"): 1,
        ("missed_total",): 1,
        ("gaps_total", "user"): 1,
        ("gaps_total", "topic"): 1,
        ("envelopes_total",): 3,
        ("relay_seconds_count",): 2,
        ("behind_total", "topic"): 2,
        ("recovered_total", "topic"): 7,
        ("heartbeat_seconds_count",): 1,
        ("lease_renewed_timestamp_seconds",): 0,
        ("messages_refused_total", "rate"): 1,
        ("users",): 3,
        ("topics",): 2,
        ("waiting_messages",): 4,
        ("waiting_bytes",): 512,
        ("behind_connections",): 1,
        ("circuit_open",): 1,
        ("redis_seconds_count", "fanout/publish"): 2,
        ("redis_failed_total", "fanout/publish", "Unavailable"): 1,
        ("jobs_total", "count", "queued"): 1,
        ("jobs_total", "count", "started"): 1,
        ("jobs_total", "count", "succeeded"): 1,
        ("job_wait_seconds_count", "count"): 1,
        ("job_run_seconds_count", "count", "succeeded"): 1,
    } == values(registry)
    metrics.on_event(LeaseRenewed("n1", 0.001))
    assert values(registry)["lease_renewed_timestamp_seconds",] == pytest.approx(time.time(), abs=PATIENCE)


async def test_prometheus_reads_them(serve: Serve) -> None:
    """
    Below the path of the router, behind a dependency of its own and not the router's; in Prometheus' format.
    """

    async def only_prometheus(authorization: str = Header("")) -> None:
        if authorization != "Bearer sesame":
            raise HTTPException(401)

    async def only_users() -> None:
        raise HTTPException(403)

    router = SocketRouter(dependencies=[Depends(only_users)])
    router.add_metrics(dependencies=[Depends(only_prometheus)])
    app = FastAPI()
    address = await serve(router, app=app)
    async with AsyncClient(base_url=f"http://{address}") as http:
        refused = await http.get("/socket/metrics")
        read = await http.get("/socket/metrics", headers={"Authorization": "Bearer sesame"})

    assert 401 == refused.status_code
    assert 200 == read.status_code
    assert read.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE qrsocket_connections gauge" in read.text


def test_processes_share_a_folder(tmp_path: Path) -> None:
    """
    Those of one machine are counted together, wherever the numbers are read.
    """
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    count = (
        "from qrsocket.prometheus import collect; from qrsocket.events import Connected, Sent; metrics = collect(); "
        "metrics.on_event(Connected('c', None, 'plain')); metrics.on_event(Sent('m', 'json', 1, 1, False, 0.1)); "
        "print(flush=True); input()"
    )
    read = "import sys; from qrsocket.prometheus import exposed; sys.stdout.write(exposed()[0].decode())"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with ExitStack() as stack:
        counting = [
            stack.enter_context(subprocess.Popen([sys.executable, "-c", count], env=environment, text=True, **pipes))
            for _ in range(2)
        ]
        for process in counting:
            assert process.stdout is not None
            process.stdout.readline()
        shown = subprocess.run(
            [sys.executable, "-c", read], env=environment, capture_output=True, text=True, check=True
        )
        for process in counting:
            assert process.stdin is not None
            process.stdin.close()

    assert 'qrsocket_connections{protocol="plain"} 2.0' in shown.stdout
    assert 'qrsocket_messages_sent_total{kind="json",outcome="routed"} 2.0' in shown.stdout


def test_they_can_have_a_port_of_their_own() -> None:
    """
    As in a worker: without anything else of ours running there.
    """
    with socket_of_the_system() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve = f"from qrsocket.prometheus import serve_metrics; serve_metrics({port}); print(flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", serve], text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            read = answer.read().decode()
        process.stdin.close()

    assert "# TYPE qrsocket_jobs_total counter" in read


def test_what_the_deployment_names_is_there() -> None:
    """
    Alert rules and the dashboard ask for metrics that exist, by labels that they have.
    """
    registry = CollectorRegistry()
    Metrics(registry)
    made = {sample.name for family in registry.collect() for sample in family.samples}
    made |= {name for family in registry.collect() for name in _names_of(family)}
    for file in ("alerts.yml", "grafana/dashboard.json"):
        named = set(re.findall(r"qrsocket_\w+", (ROOT / "deploy" / file).read_text()))
        assert named
        assert named <= made, file


def _names_of(family: Any) -> list[str]:
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
    return [f"{family.name}{ending}" for ending in endings]


async def test_a_client_with_a_gap(configure: Configure, seen: Seen) -> None:
    """
    That something is gone which a client has not had is told with its stream.
    """
    configure(recovery_messages=10)
    router = router_of_named_users()
    app = FastAPI()
    app.include_router(router)
    async with client(app, query={"user": "alice"}) as alice:
        await socket.to("alice").send(1)
        await alice.receives(1)
        await alice.disconnect()
        for number in range(400):
            await socket.to("alice").send(number)
        await alice.reconnect()

    assert [("alice", "u:alice")] == [(gap.user, gap.stream) for gap in seen.of(GapTold)]


async def test_what_comes_from_redis(serve: Serve, open_client: Open, configure: Configure, seen: Seen) -> None:
    """
    The round trips, the envelopes, the lease and the heartbeat that comes with it are told.
    """
    configure(renew_interval=20 * MS)
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")
    await socket.to("alice").send("hi")
    await alice.receive_text()
    await until(lambda: len(seen.of(LeaseRenewed)) > 1 and len(seen.of(Heartbeat)) > 1 and seen.of(Relayed))

    calls = {asked.call for asked in seen.of(RedisAsked)}
    assert {"presence/join", "presence/attach", "presence/renew", "fanout/publish"} <= calls
    assert {None} == {asked.error for asked in seen.of(RedisAsked)}
    assert sum(relayed.envelopes for relayed in seen.of(Relayed)) > 1
    assert seen.of(Heartbeat)[0].node == seen.of(LeaseRenewed)[0].node
    assert all(0 < seconds < PATIENCE for relayed in seen.of(Relayed) for seconds in relayed.seconds)
    timed = (RedisAsked, Heartbeat, LeaseRenewed)
    assert all(0 < event.seconds < PATIENCE for kind in timed for event in seen.of(kind))


async def test_what_a_node_has(serve: Serve, open_client: Open, configure: Configure, seen: Seen) -> None:
    """
    With each renewal of its lease: users once, however many connections they have, and the topics joined.
    """
    configure(renew_interval=20 * MS)
    address = await serve(router_of_named_users())
    for user in ("alice", "alice", "bob"):
        await open_client(address, f"/socket?user={user}")
    await socket.to(["alice", "bob"]).join("room")

    wanted = Counted(users=2, topics=2, waiting_messages=0, waiting_bytes=0, behind=0)  # and `*`, everyone's
    await until(lambda: wanted in seen.of(Counted))


async def test_messages_that_are_refused(serve: Serve, open_client: Open, configure: Configure, seen: Seen) -> None:
    """
    Whose it was, and why.
    """
    configure(rate=1, rate_burst=1)
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")
    for _ in range(2):
        await alice.send("hi")
    await until(lambda: seen.of(MessageRefused))

    assert {("alice", "rate")} == {(refused.user, refused.cause) for refused in seen.of(MessageRefused)}


async def test_what_was_missed_and_read_again(
    serve: Serve, open_client: Open, configure: Configure, seen: Seen, redis: Redis
) -> None:
    """
    That a connection falls behind is told, and that it was given what it had missed.
    """
    configure(renew_interval=20 * MS)
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")
    stream, keys = "u:alice", Keyspace.of(get_settings()).of_stream("u:alice")
    (node,) = redis.hkeys(keys.route(stream))
    await socket.to("alice").send(0)
    await alice.receive()
    redis.hdel(keys.route(stream), node)  # nothing is published to it
    for number in range(1, 4):
        await socket.to("alice").send(number)
    redis.hset(keys.route(stream), node, 1)
    await socket.to("alice").send(4)

    assert [1, 2, 3, 4] == [await alice.receive() for _ in range(4)]
    (fallen,) = seen.of(Behind)
    (connected,) = seen.of(Connected)
    assert (stream, (connected.connection,)) == (fallen.stream, fallen.connections)
    (recovered,) = seen.of(Recovered)
    assert ("alice", stream, 4, 3, True) == (
        recovered.user,
        recovered.stream,
        recovered.messages,
        recovered.last - recovered.first,
        recovered.is_level,
    )


async def test_a_deaf_node_is_not_ready(configure: Configure, redis_server: EmbeddedRedis) -> None:
    """
    Where Redis takes what a node says, and what it publishes does not come back, the node is not ready and says so,
    until it does.
    """
    async with deafening(redis_server.port) as (port, is_deaf):
        # It subscribes anew after so much silence: within it, it is deaf for longer than a lease.
        url = f"redis://127.0.0.1:{port}/0"
        configure(redis_url=url, renew_interval=50 * MS, lease=500 * MS, redis_timeout=PATIENCE)
        app = FastAPI()
        app.include_router(router_of_named_users())
        async with serving(app) as address, AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as http:

            async def ready() -> tuple[int, Any]:
                answer = await http.get("/socket/ready")
                return answer.status_code, answer.json().get("cause")

            async with asyncio.timeout(PATIENCE):
                while await ready() != (200, None):
                    await asyncio.sleep(MS)
                is_deaf.set()
                while (seen := await ready()) == (200, None):
                    await asyncio.sleep(MS)
                assert (503, "what Redis publishes does not arrive") == seen
                is_deaf.clear()
                while await ready() != (200, None):
                    await asyncio.sleep(MS)


def test_the_page_has_them_all() -> None:
    """
    docs/metrics.md lists each metric with its labels, and no other.
    """
    page = (ROOT / "docs" / "metrics.md").read_text()
    registry = CollectorRegistry()
    Metrics(registry)
    labels = {one._name: one._labelnames for one in registry._collector_to_names}  # type: ignore[attr-defined]
    made = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type): set(labels[family.name])
        for family in registry.collect()
    }
    rows = re.findall(r"^\| `(qrsocket_\w+)` \| (\w+) \|([^|]*)\|", page, re.MULTILINE)

    assert made == {(name, kind): set(re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}


def test_an_observer_may_ask_for_messages_later() -> None:
    """
    One that is told of the rest already is told of each message too once it asks, once.
    """
    seen, offer = Seen(), Offered("m1", "json", "u:alice", 1, (), (), (), (), ())
    with events.observed(seen):
        events.notify(offer)
        for _ in range(2):
            events.observe(seen, messages=True)
        events.notify(offer)
    events.notify(offer)

    assert [offer] == seen


def test_observers_are_told_apart() -> None:
    """
    Two that are equal are both told, and one that is added twice is told once.
    """
    one, other = Seen(), Seen()
    with events.observed(one), events.observed(other):
        events.observe(one)
        events.notify(Missed(1, 2))

    assert [[Missed(1, 2)]] * 2 == [one, other]


def test_without_prometheus_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The error says what to install.
    """
    monkeypatch.delitem(sys.modules, "qrsocket.prometheus")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'qrsocket\[metrics\]'"):
        SocketRouter().add_metrics()
