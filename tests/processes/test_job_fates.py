"""What a user is told of each fate that a job can meet, on each pool, acknowledged early and late."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import celery
import pytest
from celery import chain, chord
from celery.exceptions import ChordError, TaskRevokedError
from fastapi import FastAPI
from redis import Redis

from qrsocket.context import Context, running_for
from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.keys import Keyspace
from qrsocket.settings import get_settings
from tests.app.conftest import serving
from tests.app.routers import router_of_named_users
from tests.clients import PATIENCE, Client, Open
from tests.conftest import MS, Configure, until
from tests.processes import fates, shapes, wrapped
from tests.running import ROOT, Running, worker

ALICE = Context(user="alice")
APP = "tests.processes.shapes"
POOLS = ("prefork", "threads", "gevent")
# Before 5.5 Celery told nobody of a hard time limit on gevent, and could not terminate a task there.
ENDS_GREENLETS = celery.VERSION[:2] >= (5, 5)
LEASE = 3_000 * MS
# A node that hears nothing for that long takes its subscription for dead, and does not tell what came meanwhile.
SETTINGS = {"lease": LEASE, "renew_interval": 500 * MS, "redis_timeout": PATIENCE}
# Of the worker that tests share, and of those that a test starts. Each has an application and queues of its own, so
# that none speaks for another.
SHARED, OWN = "shared", "own"
OVER = {"succeeded", "failed", "timeout", "cancelled", "lost"}


@dataclass
class Stage:
    """
    A web node, and a worker of one pool with a queue of its own.

    Attributes:
        told: What alice was told of each job, in order.
    """

    address: str
    pool: str
    is_late: bool
    queue: str
    alice: Client
    notebook: Redis
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def start(self, task: Any, **options: Any) -> str:
        with running_for(ALICE):
            return str(task.apply_async(**{"args": (uuid4().hex,), "queue": self.queue, **options}).id)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        while not condition():
            try:
                message = await self.alice.receive()
            except AssertionError:
                raise AssertionError(f"{what}; told so far: {json.dumps(self.told, indent=1)}") from None
            if "job" in message:
                self.told.setdefault(message["job"]["id"], []).append(message["job"])

    async def over(self, *jobs: str) -> None:
        await self.until(
            lambda: all(self.states(job)[-1:] and self.states(job)[-1] in OVER for job in jobs), "not over"
        )

    async def entered(self, job: str, state: str) -> None:
        await self.until(lambda: state in self.states(job), f"{job} is not {state}")

    def states(self, job: str) -> list[str]:
        """Return the states that a job has entered; how far it is in one, and its place in line, count for nothing."""
        states: list[str] = []
        for told in self.told.get(job, ()):
            if told["state"] != "waiting" and states[-1:] != [told["state"]]:
                states.append(told["state"])
        return states

    def running(self, task: str) -> list[str]:
        """Return the jobs of a task that have begun and not ended."""
        begun = [job for job, told in self.told.items() if told[-1]["task"].endswith(task)]
        return [job for job in begun if self.states(job)[-1] == "started"]

    def last(self, job: str) -> dict[str, Any]:
        return self.told[job][-1]

    async def noted(self, word: str, run: str, *, timeout: float = PATIENCE) -> None:
        assert await asyncio.to_thread(self.notebook.blpop, [f"{word}:{run}"], timeout=timeout), f"not {word}: {run}"

    async def cancel(self, job: str) -> dict[str, Any]:
        request = Request(f"http://{self.address}/socket/jobs/{job}/cancel?user=alice", method="POST")

        def ask() -> dict[str, Any]:
            with urlopen(request, timeout=PATIENCE) as answer:
                shown: dict[str, Any] = json.load(answer)
            return shown

        return await asyncio.to_thread(ask)


@contextmanager
def a_worker(stage: Stage, broker: EmbeddedRedis, *, visibility_timeout: int = 60) -> Iterator[Running]:
    with running_worker(OWN, stage.pool, stage.is_late, broker, visibility_timeout) as running:
        yield running


@contextmanager
def running_worker(
    kind: str, pool: str, is_late: bool, broker: EmbeddedRedis, visibility_timeout: int = 60
) -> Iterator[Running]:
    environment = {f"QRSOCKET_{name.upper()}": str(value) for name, value in SETTINGS.items()} | {
        "QRSOCKET_APPLICATION": kind,
        "SHAPES_BROKER": broker.url,
        "SHAPES_QUEUE": queue_of(kind, pool, is_late),
        "SHAPES_VISIBILITY_TIMEOUT": str(visibility_timeout),
        "SHAPES_EVENTS": "1",
        **({"SHAPES_ACKS_LATE": "1"} if is_late else {}),
    }
    with worker(environment, app=APP, pool=pool, concurrency=6) as running:
        yield running
        running.kill()  # an orderly end takes gevent 5 s


def queue_of(kind: str, pool: str, is_late: bool) -> str:
    return f"{kind}-{pool}-{is_late}"


@contextmanager
def revocations() -> Iterator[Callable[[set[str]], None]]:
    """Hear what a monitor such as Flower hears of; yields what waits until these tasks were revoked."""
    ids: set[str] = set()
    with shapes.app.connection_for_read() as connection:
        receiver = shapes.app.events.Receiver(connection, {"task-revoked": lambda event: ids.add(event["uuid"])})
        with receiver.consumer_context() as (connection, _channel, _consumers):

            def wait(wanted: set[str]) -> None:
                while not wanted <= ids:
                    connection.drain_events(timeout=PATIENCE)

            connection.drain_events(timeout=PATIENCE)  # subscribes, and hears a worker's heartbeat
            yield wait


@pytest.fixture(scope="module", params=POOLS, ids=POOLS)
def pool_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[False, True], ids=["early", "late"])
def is_late(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def shared(pool_name: str, is_late: bool, broker: EmbeddedRedis, redis_server: EmbeddedRedis) -> Iterator[Running]:
    """A worker for tests that leave it running."""
    with running_worker(SHARED, pool_name, is_late, broker) as running:
        yield running


@pytest.fixture
async def stage(
    request: pytest.FixtureRequest,
    redis_server: EmbeddedRedis,
    broker: EmbeddedRedis,
    configure: Configure,
    open_client: Open,
    pool_name: str,
    is_late: bool,
) -> AsyncIterator[Stage]:
    shapes.app.set_current()  # of shared tasks: other tests may have made another one theirs
    kind = SHARED if "shared" in request.fixturenames else OWN
    configure(**SETTINGS, application=kind)
    app = FastAPI()
    app.include_router(router_of_named_users())
    async with serving(app) as address:
        alice = await open_client(address, "/socket?user=alice")
        with Redis.from_url(broker.url, decode_responses=True, socket_timeout=None) as notebook:
            yield Stage(address, pool_name, is_late, queue_of(kind, pool_name, is_late), alice, notebook)


@pytest.mark.timeout(120)
async def test_each_fate_is_told_once_and_in_order(stage: Stage, shared: Running) -> None:
    """
    Each state that a job enters is told once and in order, and its end always comes. Nothing else is told: no
    argument, no result, no traceback.
    """
    expected = {
        stage.start(fates.succeed): ["queued", "started", "succeeded"],
        stage.start(fates.fail): ["queued", "started", "failed"],
        stage.start(fates.retry): ["queued", "started", "retrying", "started", "succeeded"],
        stage.start(fates.retry_in_vain): ["queued", "started", "retrying", "started", "failed"],
        stage.start(fates.be_replaced): ["queued", "started", "requeued", "started", "succeeded"],
        stage.start(fates.ignore): ["queued", "started", "succeeded"],
        stage.start(fates.reject): ["queued", "started", "failed"],
    }
    refused = stage.start(fates.refuse)
    expired = stage.start(fates.succeed, expires=0.001)
    revoked = await _revoke_first(stage, shared)
    expected |= {refused: ["queued", "started", "failed"]}
    expected |= {expired: ["queued", "cancelled"], revoked: ["queued", "cancelled"]}
    if stage.pool == "prefork":
        expected[stage.start(fates.take_long, soft_time_limit=1)] = ["queued", "started", "timeout"]
    if stage.pool == "prefork" or (stage.pool == "gevent" and ENDS_GREENLETS):
        expected[stage.start(fates.take_long, time_limit=1)] = ["queued", "started", "timeout"]
        terminated = await _terminate(stage)
        expected[terminated] = ["queued", "started", "cancelled"]
    await stage.over(*expected)

    assert expected == {job: stage.states(job) for job in expected}
    assert "The file is empty" == stage.last(refused)["error"]
    assert ("expired", "revoked") == (stage.last(expired)["reason"], stage.last(revoked)["reason"])
    assert fates.SECRET not in json.dumps(stage.told)
    assert shared.process.poll() is None


@pytest.mark.timeout(120)
async def test_a_job_is_known_by_its_task(stage: Stage, shared: Running) -> None:
    """
    Whatever others have wrapped around the function of a job, or put in its place, the job is told of to its end; a
    function that is called by another task is no job. Where none can be known, the log says so.
    """
    expected = {stage.start(task): ["queued", "started", "succeeded"] for task in wrapped.WATCHED}
    expected[stage.start(wrapped.retried)] = ["queued", "started", "retrying", "started", "succeeded"]
    unwatched = [stage.start(task) for task in wrapped.UNWATCHED]
    await stage.over(*expected)
    shared.wait_for(r"job not reported: .*calls_what_nobody_can_find")
    last = stage.start(fates.succeed)
    await stage.over(last)

    assert expected == {job: stage.states(job) for job in expected}
    assert not {*unwatched} & stage.told.keys()


@pytest.mark.parametrize("is_late", [False], ids=["early"], indirect=True)
@pytest.mark.timeout(120)
async def test_a_job_that_is_queued_by_its_name(stage: Stage, broker: EmbeddedRedis) -> None:
    """
    A process that has no task, and queues one by its name, tells of it at once, also when no worker runs, and its end
    comes in any case. Once a worker has said which of its tasks are watched, the others are told of no more.
    """

    async def send(task: Any) -> str:
        words = (broker.url, stage.queue, task.name, "run")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.processes.bare_client", *words, stdout=subprocess.PIPE, cwd=ROOT
        )
        return (await process.communicate())[0].decode().strip()

    watched, unwatched, failing = await send(fates.succeed), await send(shapes.note_one), await send(shapes.note)
    for job in (watched, unwatched, failing):
        await stage.entered(job, "queued")
    with a_worker(stage, broker):
        await stage.over(watched, unwatched, failing)
        known, told = await send(shapes.fail), await send(fates.only_the_end)
        await stage.over(told)
        last = stage.start(fates.succeed)
        await stage.over(last)

    assert [["queued", "started", "succeeded"]] == [stage.states(watched)]
    assert [["queued", "started", "failed"]] * 2 == [stage.states(unwatched), stage.states(failing)]
    assert ["succeeded"] == stage.states(told)
    assert "The end" == stage.last(told)["title"]
    assert known not in stage.told


@pytest.mark.timeout(120)
async def test_cancel(stage: Stage, shared: Running) -> None:
    """
    A job that waits is cancelled at once and never runs. One that runs stops where it looks whether it should, on
    prefork also where it does not look; what it has to clean up is cleaned up, in coroutines too.
    """
    tasks = [fates.look_often, fates.look_in_a_group, wrapped.look_often]
    if stage.pool == "prefork":
        tasks += [fates.take_long, fates.take_long_in_async]
    waiting = stage.start(fates.look_often, args=("waiting",), countdown=1)
    await stage.entered(waiting, "queued")
    assert "cancelled" == (await stage.cancel(waiting))["state"]
    running = [stage.start(task, args=(task.name,)) for task in tasks]
    for job, task in zip(running, tasks, strict=True):
        await stage.noted("begun", task.name)
        assert (await stage.cancel(job))["cancelling"]
    await stage.over(waiting, *running)
    for task in tasks:
        await stage.noted("cleaned up", task.name)
    after = stage.start(fates.succeed, countdown=1.5)
    await stage.over(after)

    assert ["queued", "cancelled"] == stage.states(waiting)
    assert [["queued", "started", "cancelled"]] * len(running) == [stage.states(job) for job in running]
    assert 0 == stage.notebook.llen("begun:waiting")
    assert "cancelled" == (await stage.cancel(waiting))["state"]


@pytest.mark.timeout(120)
async def test_a_cancelled_job_is_revoked_to_celery(stage: Stage, shared: Running) -> None:
    """
    However a job is cancelled, its result says that it was revoked, and so do its chord, its chain and the events that
    monitors read: nobody waits for it for ever.
    """
    with revocations() as until_revoked:
        running, inside = stage.start(fates.look_often, args=("running",)), stage.start(fates.look_in_a_group)
        unstored = stage.start(fates.look_often, args=("unstored",), ignore_result=True)
        waiting, retrying = stage.start(fates.look_often, countdown=4), stage.start(fates.retry_later)
        with running_for(ALICE):
            member = fates.look_often.si("member").set(queue=stage.queue)
            body, other = (fates.succeed.si(word).set(queue=stage.queue) for word in ("body", "other"))
            of_chord = chord([member, other], body).delay()
            first, last = fates.look_often.si("first").set(queue=stage.queue), fates.succeed.si("last")
            of_chain = chord([chain(first, last.set(queue=stage.queue)), other], body).delay()
        await stage.entered(inside, "started")
        await stage.entered(retrying, "retrying")
        await stage.until(lambda: len(stage.running("look_often")) >= 4, "not all have begun")
        results = [shapes.app.AsyncResult(id) for id in (running, inside, waiting, retrying)]
        for job in (running, unstored, inside, waiting, retrying, *stage.running("look_often")):
            await stage.cancel(job)

        for result in results:
            with pytest.raises(TaskRevokedError):
                await asyncio.to_thread(result.get, timeout=PATIENCE)
            assert "REVOKED" == result.state
        for result in (of_chord, of_chain):
            with pytest.raises((ChordError, TaskRevokedError)):
                await asyncio.to_thread(result.get, timeout=PATIENCE)
        assert "PENDING" == shapes.app.AsyncResult(unstored).state
        await asyncio.to_thread(until_revoked, {running, inside, waiting, retrying, unstored})


@pytest.mark.parametrize("pool_name", ["prefork", "gevent"], indirect=True)
@pytest.mark.parametrize("is_late", [False], ids=["early"], indirect=True)
@pytest.mark.timeout(120)
async def test_a_job_that_writes_all_the_time(stage: Stage, shared: Running, redis: Redis) -> None:
    """
    A job that writes as fast as it can is not taken for dead for it, nor is its neighbour; both can be cancelled.
    """
    writing = stage.start(fates.write_a_lot, args=("run",))
    neighbour = stage.start(fates.look_often, args=("neighbour",))
    await stage.noted("begun", "run")
    await stage.noted("begun", "neighbour")
    due, member = Keyspace.of(get_settings()).shards[0].due, f"{writing} u:alice"
    first_end = redis.zscore(due, member)
    await until(lambda: redis.zscore(due, member) > first_end + 1000 * LEASE, timeout=4 * LEASE)
    await stage.cancel(neighbour)
    stage.notebook.rpush("go on:run", "please")
    await stage.over(writing, neighbour)

    assert ["queued", "started", "succeeded"] == stage.states(writing)
    assert ["queued", "started", "cancelled"] == stage.states(neighbour)


@pytest.mark.not_on_lowest  # an older kombu looks every 100 s for what a killed worker has left
@pytest.mark.timeout(120)
async def test_a_worker_is_killed(stage: Stage, broker: EmbeddedRedis) -> None:
    """
    When a worker is killed, its job is lost, or if it is acknowledged late comes back and ends well elsewhere.
    """
    with a_worker(stage, broker, visibility_timeout=3) as first:
        job = stage.start(fates.wait_for_word, args=("run",))
        await stage.noted("begun", "run")
        first.kill()
    if not stage.is_late:
        await stage.over(job)
        assert ["queued", "started", "lost"] == stage.states(job)
        return
    await stage.entered(job, "requeued")
    with a_worker(stage, broker, visibility_timeout=3):
        await stage.noted("begun", "run", timeout=4 * PATIENCE)  # kombu on gevent looks seldom
        await stage.until(lambda: bool(_progress(stage, job)), "no progress")  # an end comes before what waits
        stage.notebook.rpush("go on:run", "please")
        await stage.over(job)

    assert ["queued", "started", "requeued", "started", "succeeded"] == stage.states(job)
    assert [(1, 2, 50, "Half-way")] == list(
        dict.fromkeys((told["done"], told["total"], told["percent"], told["message"]) for told in _progress(stage, job))
    )


@pytest.mark.parametrize("pool_name", ["prefork"], indirect=True)
@pytest.mark.timeout(120)
async def test_a_child_is_killed(stage: Stage, broker: EmbeddedRedis, configure: Configure) -> None:
    """
    When the process of a job is killed, by the kernel for want of memory say, the job is lost; with late
    acknowledgement and `reject_on_worker_lost` it runs again.
    """
    configure(lease=30, renew_interval=0.5)  # Celery may take seconds to notice
    with a_worker(stage, broker):
        lost, back = stage.start(fates.kill_itself_once), stage.start(fates.kill_itself_once_and_come_back)
        await stage.over(lost, back)

    again = ["requeued", "started", "succeeded"] if stage.is_late else ["lost"]
    assert ["queued", "started", "lost"] == stage.states(lost)
    assert ["queued", "started", *again] == stage.states(back)


def _progress(stage: Stage, job: str) -> list[dict[str, Any]]:
    return [told for told in stage.told[job] if told["state"] == "started" and "done" in told]


async def _revoke_first(stage: Stage, shared: Running) -> str:
    worker = shared.wait_for(r"(\S+@\S+) ready\.")[1]  # others of this broker answer, too
    control, id = shapes.app.control, uuid4().hex

    def revoke() -> list[Any] | None:
        while not control.ping(destination=[worker], timeout=200 * MS):
            pass  # on gevent it is ready before it takes orders
        return control.revoke(id, reply=True, timeout=PATIENCE, destination=[worker])

    assert await asyncio.to_thread(revoke)
    return stage.start(fates.succeed, task_id=id)


async def _terminate(stage: Stage) -> str:
    job = stage.start(fates.take_long, args=("terminated",))
    await stage.noted("begun", "terminated")
    await asyncio.to_thread(shapes.app.control.revoke, job, terminate=True)
    return job
