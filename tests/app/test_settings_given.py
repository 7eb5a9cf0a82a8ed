"""Settings that are passed in, instead of the environment's: two applications in one process, and each for itself."""

import asyncio
from typing import Any

import httpx2
import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.local import Proxy
from fastapi import FastAPI
from pydantic import SecretStr

from qrsocket import Settings, Socket, Unavailable, User, authenticated, clients, socket
from qrsocket.celery import install, job, notify_user
from qrsocket.celery.reporting import report
from qrsocket.celery.run import Run
from qrsocket.celery.watched import settings_by_name, settings_of
from qrsocket.celery.watcher import begin, watcher_of
from qrsocket.context import Context, current_settings, running_for
from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.jobs.table import JobKey, Jobs
from qrsocket.keys import Keyspace
from qrsocket.roundtrip import arun
from qrsocket.server import SocketRouter
from qrsocket.settings import get_settings
from qrsocket.streams import of_user
from qrsocket.sync import Socket as BlockingSocket
from qrsocket.sync import socket as blocking
from tests.app.conftest import Serve
from tests.app.speaking import OpenSpeaker
from tests.clients import PATIENCE, Open
from tests.conftest import MS


@pytest.fixture
def other(redis_server: EmbeddedRedis) -> Settings:
    return Settings(application="other", renew_interval=20 * MS, offline_grace=30 * MS, max_message_in_bytes=1_000)


def application(settings: Settings | None, told: list[Any]) -> FastAPI:
    """An application whose every kind of handler sends to its user by `socket`, whatever settings it has."""
    router = SocketRouter(settings=settings)
    app = FastAPI()

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> User:
        await socket.to(query["user"]).send("from on_connect")
        return User(query["user"])

    @router.on_message
    def on_message(data: Any, user: User) -> None:
        blocking.to(user).send({"from a thread": data})

    @router.on_online
    async def on_online(user_id: str) -> None:
        told.append((user_id, await socket.is_online(user_id)))

    @app.post("/hello")
    async def hello(user: str) -> bool:
        await authenticated(user)
        return bool(await socket.send("from HTTP"))

    app.include_router(router)
    return app


async def test_two_applications_in_one_process(serve: Serve, open_client: Open, other: Settings) -> None:
    """
    What handlers, hooks and endpoints send by `socket` goes by their own application's settings; users of the other
    hear nothing, and a `Socket` that was given settings reaches who it is meant for.
    """
    told: dict[str, list[Any]] = {"mine": [], "other": []}
    mine, theirs = application(None, told["mine"]), application(other, told["other"])
    first, second = await serve(app=mine), await serve(app=theirs)
    alice = await open_client(first, "/socket?user=alice")
    namesake = await open_client(second, "/socket?user=alice")

    await namesake.send("hi")
    assert {"from a thread": "hi"} == await namesake.receive()
    async with httpx2.AsyncClient(timeout=PATIENCE) as http:
        assert (await http.post(f"http://{second}/hello", params={"user": "alice"})).json()
        assert "from HTTP" == await namesake.receive_text()
        assert not (await http.post(f"http://{second}/hello", params={"user": "bob"})).json()
    assert await Socket[Any](other).to("alice").send("by name")
    assert await asyncio.to_thread(BlockingSocket[Any](other).topic("room:1").count) == 0
    assert {"alice"} == await Socket[Any](other).online()
    assert "by name" == await namesake.receive_text()
    await socket.to("alice").send("by default")
    assert "by default" == await alice.receive_text()
    await namesake.send("x" * 2_000)

    assert 1009 == await namesake.closed(), "the limit that its application was given"
    assert {"mine": [("alice", True)], "other": [("alice", True)]} == told


async def test_routers_of_one_application_agree(serve: Serve, other: Settings) -> None:
    """
    Two routers of one application share a node: to give them different settings is refused when it starts.
    """
    with pytest.raises(RuntimeError) as refused:
        await serve(SocketRouter("/a", settings=other), SocketRouter("/b"))

    assert "give the same settings to all of them" in str(refused.value.__cause__)


async def test_a_celery_application_with_settings(serve: Serve, open_speaker: OpenSpeaker, other: Settings) -> None:
    """
    A Celery application that was given settings tells of its jobs by them, and its tasks send by them.
    """
    jobs = install(Celery("jobs", broker="memory://", backend="cache+memory://", set_as_current=False), settings=other)
    jobs.conf.worker_hijack_root_logger = False
    router = SocketRouter(settings=other)

    @jobs.task(name="settings_given.count", shared=False)
    @notify_user
    def count(words: list[str]) -> int:
        for word in job.track(words):
            blocking.send(word)
        return len(words)

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> User:
        return User(query["user"])

    router.add_job("/count", count)
    address = await serve(router)
    alice = await open_speaker(address, "alice")
    await alice.hello()
    with start_worker(jobs, pool="solo", perform_ping_check=False, shutdown_timeout=PATIENCE):
        async with httpx2.AsyncClient(timeout=PATIENCE) as http:
            url = f"http://{address}/socket/count"
            asked = await http.post(url, params={"user": "alice"}, json={"words": ["to", "be"]})
        assert 202 == asked.status_code
        ended = await alice.frames_until("job", id=asked.json()["id"], state="succeeded")

    assert 2 == ended["job"]["done"]
    heard = [text for text in ("to", "be") if any(line.endswith(f"\\n{text}'") for line in alice.client.transcript)]
    assert ["to", "be"] == heard, "\n".join(alice.client.transcript)


async def test_a_redis_that_is_away_holds_up_its_own_jobs(redis_server: EmbeddedRedis, other: Settings) -> None:
    """
    In a process with two Celery applications, what cannot be told of one's jobs since its Redis is away waits for that
    alone: the other's jobs are told of, and keep their leases.
    """
    nowhere = Settings(redis_url=SecretStr("redis://127.0.0.1:1/0"), redis_timeout=0.1)
    key = JobKey.of(of_user("alice"), "j1")
    about = {"id": "j1", "task": "t", "turn": 0, "attempt": 1}
    with pytest.raises(Unavailable):
        report(nowhere, "queued", key, about)

    await asyncio.to_thread(watcher_of(nowhere).reports.report, "queued", key, about)
    run = Run(other, key, about, watcher_of(other).wake)
    await asyncio.to_thread(begin, run)
    watcher_of(other).watch(run)
    run.advance(1, 2, None)
    jobs = Jobs(Keyspace.of(other).of_stream(key.owner), other)

    async def progress() -> Any:
        (listed,) = await arun(clients.awaiting(other), jobs.listed(key.owner), timeout=PATIENCE)
        return listed.get("done")

    async with asyncio.timeout(PATIENCE):
        while await progress() != 1:
            await asyncio.sleep(5 * MS)
    watcher_of(other).unwatch(run)
    assert 1 == len(watcher_of(nowhere).reports)
    watcher_of(nowhere).reports._waiting.clear()  # or its thread would go on trying beside other tests


def test_settings_of_a_celery_application_stay(other: Settings) -> None:
    """
    What an application was given once it keeps when it is installed again without; others are refused.
    """
    app = Celery("jobs", set_as_current=False)
    install(app, settings=other)
    install(app)

    assert other == settings_of(app)
    with pytest.raises(ValueError, match="installed with other settings"):
        install(app, settings=Settings(application="third"))


def test_eager_tasks_have_the_settings_of_their_caller(other: Settings) -> None:
    """
    A task that runs eagerly, of an application that was given none, sends by the settings of whoever calls it.
    """
    app = install(Celery("jobs", set_as_current=False))
    app.conf.task_always_eager = True
    seen = []

    @app.task(name="settings_given.see", shared=False)
    def see() -> None:
        seen.append(current_settings())

    with running_for(Context(user="alice", settings=other)):
        see.delay()

    assert [other] == seen


def test_what_waits_is_told_by_the_settings_of_its_application(redis_server: EmbeddedRedis, other: Settings) -> None:
    """
    Wherever a task is queued, that it waits is told where its start and end will be, also by way of a Proxy.
    """
    app = install(Celery("jobs", set_as_current=False), settings=other)

    @app.task(name="settings_given.wait", shared=False)
    def wait() -> None: ...

    assert wait.name in app.tasks
    assert other == settings_by_name(wait.name)
    assert other == settings_of(Proxy(lambda: app))
    assert get_settings() == settings_by_name("settings_given.unknown")
