"""What a task can do in a worker: send, be `async def`, and tell its user how it fares."""

import asyncio
import json
from collections.abc import AsyncIterator
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from celery.result import AsyncResult
from fastapi import FastAPI
from redis import Redis

from qrsocket import socket
from qrsocket.celery import install, job
from qrsocket.context import Context, running_for
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from qrsocket.fanout.publish import Envelope
from qrsocket.keys import Keyspace
from qrsocket.message import Kind
from qrsocket.settings import get_settings
from qrsocket.sync import socket as blocking
from tests.app.conftest import serving
from tests.app.routers import router_of_named_users
from tests.clients import PATIENCE, Client, Open
from tests.conftest import MS, Configure, until
from tests.processes import jobs
from tests.processes.notes import Page
from tests.processes.shapes import notebook
from tests.running import Running, worker

ALICE = Context(user="alice")
END = "that is all"
SECRET = "sesame"
APP = "tests.processes.shapes"

on_prefork = pytest.mark.parametrize("pool", ["prefork"], indirect=True)


@pytest.fixture
async def node(redis_server: EmbeddedRedis) -> AsyncIterator[str]:
    """A web node; yields its address."""
    app = FastAPI()
    app.include_router(router_of_named_users())
    async with serving(app) as address:
        yield address


async def result(task: "AsyncResult[Any]") -> Any:
    return await asyncio.to_thread(task.get, timeout=PATIENCE)


async def end_of(task: "AsyncResult[Any]") -> None:
    await asyncio.to_thread(task.get, timeout=PATIENCE, propagate=False)


async def received(client: Client, user: str) -> list[Any]:
    """Return all that a client of *user* was sent until now."""
    await socket.to(user).send(END)
    messages: list[Any] = []
    while (message := await client.receive_text()) != END:
        messages.append(json.loads(message))
    return messages


@on_prefork
async def test_sends_from_two_processes(pool: Running, node: str, open_client: Open) -> None:
    """
    Two children send at once, with connections that their parent opened: nothing is lost, mixed up or told twice.
    """
    alice = await open_client(node, "/socket?user=alice")

    with running_for(ALICE):
        one, other = jobs.send_beside.delay("one", "other", 100), jobs.send_beside.delay("other", "one", 100)
    ids = await result(one) + await result(other)
    messages = await received(alice, "alice")

    assert 200 == len(set(ids))
    for name in ("one", "other"):
        assert [{"from": name, "n": n} for n in range(100)] == [one for one in messages if one["from"] == name]


async def test_an_async_task_returns_and_raises(pool: Running) -> None:
    """
    The result of an `async def` task is what it returns, and its failure what it raises.
    """
    assert 3 == await result(jobs.add.delay(1, 2))
    with pytest.raises(ValueError, match="later"):
        await result(jobs.fail_later.delay("later"))
    with pytest.raises(RuntimeError, match=r"add\(\) was called in an `async def` task"):
        await result(jobs.call_another.delay())


async def test_an_async_task_may_not_block_and_lets_others_block(pool: Running) -> None:
    """
    The blocking socket refuses to run in a coroutine. Elsewhere in the process there is no event loop to see, also on
    gevent, where the loop runs in the same thread.
    """
    with pytest.raises(RuntimeError, match="would block the event loop"):
        await result(jobs.send_blocking.delay())

    assert not await result(jobs.sees_a_loop.delay())
    with running_for(ALICE):
        sending = jobs.send.delay("me", 1)
    assert 1 == len(await result(sending))


async def test_an_async_task_runs_for_its_user(pool: Running) -> None:
    """
    Many at once, each knows its own user, in what it starts and in what it queues.
    """
    page, tasks = Page(), []
    for n in range(40):
        whom = ("alice", "nobody", "bob")[n % 3]
        with running_for(Context(user=None if whom == "nobody" else whom)):
            tasks.append((whom, jobs.see_whom.delay()))
            jobs.queue_later.delay(page.run(f"{whom}/{n}"))

    wrong = [(whom, seen) for whom, task in tasks if (seen := await result(task)) != [whom] * 3]
    queued = await asyncio.to_thread(page.read, 80)

    assert [] == wrong
    children = ("child", "child from a thread")
    assert {f"{whom}/{n}": [(child, whom) for child in children] for n, (whom, _) in enumerate(tasks)} == queued


@pytest.mark.parametrize("pool", ["threads", "gevent"], indirect=True)
async def test_a_coroutine_that_blocks_stops_no_other_task(pool: Running) -> None:
    """
    While a coroutine wrongly blocks, so that on gevent the others seem to run on its loop, they can send all the same.
    """
    page = Page()
    blocked = jobs.block_the_loop.delay(page.run("blocked"))
    await asyncio.to_thread(page.read, 1)
    with running_for(ALICE):
        sending = jobs.send.delay("me", 1)

    assert 1 == len(await result(sending))
    notebook().rpush(page.run("blocked"), "go on")
    await result(blocked)


async def test_an_async_task_has_its_request(pool: Running) -> None:
    """
    With `bind=True`, `self` and `job` are those of the task, though many share a thread: `self.retry()` works.
    """
    page = Page()
    tasks = {n: jobs.try_twice_later.delay(page.run(str(n))) for n in range(10)}

    assert {n: [task.id, task.id] for n, task in tasks.items()} == {n: await result(task) for n, task in tasks.items()}
    assert {str(n): [("attempt 1", "nobody"), ("attempt 2", "nobody")] for n in tasks} == page.read(20)


async def test_async_sends_from_many_tasks(pool: Running, node: str, open_client: Open) -> None:
    """
    Tasks send with the awaiting socket, many at once and one after the other; blocking ones send beside them.
    """
    alice = await open_client(node, "/socket?user=alice")

    with running_for(ALICE):
        tasks = [task.delay(n, 5) for n in range(20) for task in (jobs.send_at_once, jobs.send)]
    ids = [id for task in tasks for id in await result(task)]
    messages = await received(alice, "alice")

    assert 200 == len(set(ids))
    wanted = [{"from": name, "n": n} for name in range(20) for n in range(5) for _ in range(2)]
    assert wanted == sorted(messages, key=lambda message: (message["from"], message["n"]))


@on_prefork
async def test_a_soft_time_limit_cancels_an_async_task(pool: Running) -> None:
    """
    When the limit is reached, the coroutine is cancelled and the task fails.
    """
    page = Page()
    with pytest.raises(SoftTimeLimitExceeded):
        await result(jobs.wait_for_ever.apply_async((page.run("job"),), soft_time_limit=1))

    assert {"job": [("begun", "nobody"), ("cancelled", "nobody")]} == page.read(2)


def test_a_plain_call() -> None:
    """
    Called as a function, outside of any task, an `async def` task returns its result, and nobody is told: there is no
    job.
    """
    assert 3 == jobs.add(1, 2)
    with running_for(ALICE):
        assert SECRET == jobs.succeed(SECRET) == jobs.succeed_later(SECRET)
    with pytest.raises(RuntimeError, match="there is no job here"):
        _ = job.id


STATES = {
    jobs.succeed: ["queued", "started", "succeeded"],
    jobs.succeed_bound: ["queued", "started", "succeeded"],
    jobs.succeed_later: ["queued", "started", "succeeded"],
    jobs.fail: ["queued", "started", "failed"],
    jobs.fail_in_async: ["queued", "started", "failed"],
    jobs.succeed_at_second: ["queued", "started", "retrying", "started", "succeeded"],
    jobs.succeed_at_third: ["queued", "started", "retrying", "started", "retrying", "started", "succeeded"],
    jobs.fail_twice: ["queued", "started", "retrying", "started", "failed"],
    jobs.fail_for_good: ["queued", "started", "failed"],
    jobs.be_replaced: ["queued", "started", "requeued", "started", "succeeded"],  # the other takes its id
}


async def test_the_user_is_told_how_a_job_fares(pool: Running, node: str, open_client: Open) -> None:
    """
    Who queued a job is told of each state that it enters, once and in order, whatever its function is. Arguments,
    results and errors are not told.
    """
    alice, bob = await open_client(node, "/socket?user=alice"), await open_client(node, "/socket?user=bob")

    of_nobody = [task.delay(SECRET) for task in STATES]
    with running_for(ALICE):
        of_alice = {task.delay(SECRET): states for task, states in STATES.items()}
    for task in [*of_nobody, *of_alice]:
        await end_of(task)
    messages: list[Any] = []  # a result is stored before the end is told
    while len([one for one in messages if one["job"]["state"] in ("succeeded", "failed")]) < len(of_alice):
        messages.append(await alice.receive())
    messages += await received(alice, "alice")
    of_bob = await received(bob, "bob")

    told: dict[str, list[str]] = {}
    for message in messages:
        if message["job"]["state"] != "waiting":  # for its turn
            told.setdefault(message["job"]["id"], []).append(message["job"]["state"])
    assert {task.id: states for task, states in of_alice.items()} == told
    assert SECRET not in json.dumps(messages)
    assert [] == of_bob


@pytest.mark.parametrize("end", [SIGKILL, SIGSTOP], ids=["refusing", "frozen"])
async def test_a_job_runs_though_its_user_cannot_be_told(broker: EmbeddedRedis, end: Signals) -> None:
    """
    When only the broker answers, a job does its work and fails with its own error; the log says what was not told.
    """
    with embedded_redis() as lost:
        environment = {
            "QRSOCKET_REDIS_URL": lost.url,
            "QRSOCKET_REDIS_TIMEOUT": str(200 * MS),
            "SHAPES_QUEUE": end.name,
        }
        with worker(environment, app=APP) as running:
            lost.process.send_signal(end)
            with running_for(ALICE):
                succeeding = jobs.succeed.apply_async(("done",), queue=end.name)
                failing = jobs.fail.apply_async((SECRET,), queue=end.name)

            assert "done" == await result(succeeding)
            with pytest.raises(ValueError, match=SECRET):
                await result(failing)
            running.wait_for("job event waits until Redis is back")
            running.kill()
        lost.process.send_signal(SIGCONT)


@pytest.mark.parametrize("name", ["succeed", "succeed_at_second", "fail"])
async def test_what_could_not_be_told_is_told_when_redis_is_back(
    broker: EmbeddedRedis, configure: Configure, name: str
) -> None:
    """
    Of a job that begins, is retried and ends while Redis is frozen, and whose process ends as well, all is told in
    order once Redis goes on.
    """
    task = getattr(jobs, name)
    with embedded_redis() as frozen, Redis.from_url(frozen.url) as client, client.pubsub() as channel:
        configure(redis_url=frozen.url, redis_timeout=300 * MS)
        keys, states = Keyspace.of(get_settings()).shards[0], []
        client.hset(keys.route("u:alice"), "n1", 1)  # as a web node that alice is connected to
        channel.subscribe(keys.channel("n1"))
        with worker({"SHAPES_QUEUE": name}, app=APP) as running:
            frozen.process.send_signal(SIGSTOP)
            with running_for(ALICE):
                queued = await asyncio.to_thread(task.apply_async, (SECRET,), queue=name)
            await end_of(queued)
            frozen.process.send_signal(SIGCONT)

            def told() -> list[str]:
                while (sent := channel.get_message(ignore_subscribe_messages=True, timeout=0)) is not None:
                    message = Envelope.parse(sent["data"]).message
                    if message.kind is Kind.JOB:
                        states.append(json.loads(message.payload)["job"]["state"])
                return states

            await until(lambda: {"succeeded", "failed"} & set(told()))
            running.kill()
        assert STATES[task] == states


@pytest.mark.not_on_lowest  # an older kombu looks every 100 s for what a killed worker has left
@pytest.mark.parametrize("name", ["be_killed_halfway", "be_killed_halfway_later"], ids=["blocking", "async"])
async def test_a_redelivered_task_repeats_nothing(
    redis_server: EmbeddedRedis, node: str, open_client: Open, name: str
) -> None:
    """
    A task whose worker was killed is run again by another, from its beginning. Each message arrives once, and what the
    second run says otherwise is not lost.
    """
    alice, bob = await open_client(node, "/socket?user=alice"), await open_client(node, "/socket?user=bob")
    with embedded_redis() as server, Redis.from_url(server.url, socket_timeout=None) as notebook:
        publisher = Celery("publisher", broker=server.url, set_as_current=False)
        environment = {"SHAPES_BROKER": server.url, "SHAPES_QUEUE": "late", "SHAPES_VISIBILITY_TIMEOUT": "2"}
        with worker(environment, app=APP) as first:
            with running_for(ALICE):
                publisher.send_task(f"tests.processes.jobs.{name}", ("run",), queue="late")
            assert await asyncio.to_thread(notebook.blpop, ["halfway:run"], timeout=PATIENCE)
            first.kill()
        with worker(environment, app=APP) as second:
            assert await asyncio.to_thread(notebook.blpop, ["halfway:run"], timeout=3 * PATIENCE)
            notebook.rpush("go on:run", "please")
            second.wait_for(r"\] succeeded in ")
            second.kill()
    told = await received(alice, "alice")
    states = [message["job"]["state"] for message in told if "job" in message]
    sent = [message.get("n") or f"run {message['run']}" for message in told if message.get("n") or "run" in message]

    assert ["queued", "started", "requeued", "started", "succeeded"] == states
    assert [1, "run 1", 3, "run 2", 5] == sent
    assert [{"from": "me", "n": 4}] == await received(bob, "bob")


@pytest.mark.parametrize("name", ["send_and_retry", "send_and_retry_later"], ids=["blocking", "async"])
async def test_a_retry_repeats_nothing(pool: Running, node: str, open_client: Open, name: str) -> None:
    """
    What an attempt has sent, the next one does not send again; it gets on to what is new.
    """
    alice = await open_client(node, "/socket?user=alice")

    with running_for(ALICE):
        retrying = getattr(jobs, name).delay(3)
    ids = await result(retrying)
    messages = await received(alice, "alice")

    assert [{"n": 0}, {"n": 1}, {"n": 2}] == messages
    assert [f"{retrying.id}:{n}" for n in (1, 2, 3)] == [id.rpartition(":")[0] for id in ids]


@on_prefork
async def test_a_task_that_replaces_another_is_another(pool: Running, node: str, open_client: Open) -> None:
    """
    A task that takes the place of one, and with that its id, sends the same as that had sent, and it arrives.
    """
    alice = await open_client(node, "/socket?user=alice")

    with running_for(ALICE):
        replaced = jobs.send_and_be_replaced.delay(3)
    await result(replaced)

    assert [{"tick": True}] * 3 == await received(alice, "alice")


async def test_a_task_inside_a_task_counts_for_itself(
    redis_server: EmbeddedRedis, node: str, open_client: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    An eager task numbers its messages under its own id, and its caller's go on where they were. Outside of tasks none
    is numbered so.
    """
    monkeypatch.setitem(jobs.app.conf, "task_always_eager", True)
    alice = await open_client(node, "/socket?user=alice")

    with running_for(ALICE):
        ids = await asyncio.to_thread(lambda: jobs.send_around_another.delay(2).get())
        outside = await socket.send({"tick": True})
    messages = await received(alice, "alice")
    runs = [id.rsplit(":", 2)[:2] for id in ids]
    tasks = list(dict.fromkeys(task for task, _ in runs))

    assert [{"tick": True}] * 7 == messages
    assert 3 == len(tasks)
    assert [(0, "1"), (1, "1"), (2, "1"), (2, "2"), (1, "2"), (0, "2")] == [
        (tasks.index(task), number) for task, number in runs
    ]
    assert outside.message_id.split(":")[0] not in tasks


@pytest.mark.parametrize(("options", "seconds"), [({}, 3_900), ({"visibility_timeout": 7_200}, 7_500)])
def test_a_task_is_remembered_for_longer_than_it_may_come_back(
    redis_server: EmbeddedRedis, options: dict[str, Any], seconds: int
) -> None:
    """
    The ids of its messages are known for 5 minutes more than the broker keeps a task for one worker.
    """
    app = Celery("eager", set_as_current=False, broker="memory://")
    app.conf.update(task_always_eager=True, broker_transport_options=options)
    install(app)

    @app.task(shared=False)
    def send() -> str:
        return blocking.to("alice").send("hi").message_id

    id = send.delay().get()
    with Redis.from_url(redis_server.url) as client:
        known_for = client.ttl(Keyspace.of(get_settings()).shards[0].sent(id))

    assert seconds - 10 < known_for <= seconds
