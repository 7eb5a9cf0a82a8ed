"""A user's jobs, as the web side shows them: with `ready`, by HTTP, and as they go on."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from signal import SIGCONT, SIGSTOP
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from celery import Celery
from fastapi import Depends, FastAPI, HTTPException, Request, UploadFile
from pydantic import BaseModel
from redis import Redis

from qrsocket import User, authenticated, clients, socket
from qrsocket.celery import install, notify_user
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from qrsocket.jobs.table import Beat, JobKey, Jobs
from qrsocket.keys import Keyspace
from qrsocket.position import Position
from qrsocket.roundtrip import arun
from qrsocket.server import SocketRouter
from qrsocket.settings import get_settings
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.app.speaking import OpenSpeaker
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure

KEY = JobKey("u:alice", "j1")
ABOUT = {"id": "j1", "task": "tasks.count", "turn": 0, "attempt": 1, "delay_ms": 0, "run": "r1"}


async def do(call: Any) -> Any:
    return await arun(clients.awaiting(get_settings()), call, timeout=PATIENCE)


def jobs() -> Jobs:
    return Jobs(Keyspace.of(get_settings()).shards[0], get_settings())


async def say(event: str, **said: Any) -> None:
    await do(jobs().advance(event, KEY, {**ABOUT, **said}))


async def progress(done: int, total: int = 100) -> None:
    await do(jobs().beat([Beat(KEY, "r1", {"done": done, "total": total})]))


async def ask(method: str, url: str, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(verify=False) as client:
        return await client.request(method, url, timeout=PATIENCE, **options)


async def test_a_page_that_loads_late_knows_its_jobs(serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    `ready` has the jobs that run and those that ended a while ago, also one that ended before anybody looked.
    """
    address = await serve(router_of_named_users())
    await say("started")
    await progress(30)

    first = await (await open_speaker(address, "alice")).hello()
    await say("ended", state="succeeded", result='"done"')
    second = await (await open_speaker(address, "alice")).hello()
    of_bob = await (await open_speaker(address, "bob")).hello()

    assert [("j1", "started", 30)] == [(job["id"], job["state"], job["percent"]) for job in first["jobs"]]
    assert [("j1", "succeeded", 100)] == [(job["id"], job["state"], job["percent"]) for job in second["jobs"]]
    assert "done" == second["jobs"][0]["result"]
    assert [] == of_bob["jobs"]


async def test_states_are_no_messages(serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    What is told of jobs takes no place among the messages. A client that was away finds the newest state in its ready.
    """
    address = await serve(router_of_named_users())
    alice = await open_speaker(address, "alice")
    since = await alice.hello()

    await say("started")
    await progress(1)
    await alice.frames_until("job", done=1)
    await socket.to("alice").send("hi")
    await say("ended", state="failed")
    await alice.frames_until("job", state="failed")
    again = await open_speaker(address, "alice")
    ready = await again.hello(Position(since["epoch"], since["offset"]))

    assert ["!job", "!job", "!job", f"{since['offset'] + 1} x=text", "!job"] == alice.headers[1:]
    assert "hi" == await again.receive()
    assert ready["recovered"]
    assert ["failed"] == [job["state"] for job in ready["jobs"]]


async def test_jobs_that_a_node_did_not_hear_of(
    serve: Serve, open_speaker: OpenSpeaker, open_client: Open, redis: Redis
) -> None:
    """
    A node whose subscription was cut when a job ended reads the jobs anew, and tells its clients all of them; those of
    the plain protocol each as a message.
    """
    address = await serve(router_of_named_users())
    alice, plain = await open_speaker(address, "alice"), await open_client(address, "/socket?user=alice")
    await alice.hello()
    await say("started")
    await alice.frames_until("job", state="started")
    keys = Keyspace.of(get_settings()).shards[0]
    (node,) = redis.zrange(keys.nodes, 0, -1)

    with redis.pipeline() as pipeline:  # one transaction: the node cannot come back in between
        pipeline.client_kill_filter(_type="pubsub")
        pipeline.publish(keys.channel(node.decode()), "lost")
        pipeline.incr(keys.position("j:u:alice"))
        pipeline.hset(keys.record("u:alice", "j1"), "state", "failed")
        pipeline.execute()
    told = await alice.frames_until("jobs")

    assert ["failed"] == [job["state"] for job in told["jobs"]]
    assert ["queued", "started", "failed"] == [(await plain.receive())["job"]["state"] for _ in range(3)]


async def test_a_plain_client_sees_jobs(serve: Serve, open_client: Open) -> None:
    """
    To a plain client each word of a job is a message with the one key `job`.
    """
    address = await serve(router_of_named_users())
    alice = await open_client(address, "/socket?user=alice")
    await say("started")
    await progress(1)

    told = [(await alice.receive())["job"] for _ in range(3)]

    assert [("queued", None), ("started", None), ("started", 1)] == [(job["state"], job["percent"]) for job in told]


async def test_a_slow_client_gets_the_newest_progress(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    A client that does not read is not closed for the progress of jobs: of that only the newest waits.
    """
    configure(max_queued_messages=10)
    address = await serve(router_of_named_users())
    alice = await open_client(address, "/socket?user=alice", max_queue=1)
    transport = alice.connection.transport
    await say("started")
    await asyncio.sleep(0)
    transport.pause_reading()
    text = "x" * 200_000
    for done in range(300):
        await do(jobs().beat([Beat(KEY, "r1", {"done": done, "message": text})]))
    transport.resume_reading()
    await say("ended", state="succeeded")

    seen = []
    while not seen or seen[-1]["state"] != "succeeded":
        seen.append((await alice.receive())["job"])
    done = [job["done"] for job in seen if "done" in job]
    await socket.to("alice").send("that is all")
    assert "that is all" == await alice.receive_text()  # and no progress from before the end
    assert sorted(done) == done
    assert 299 == done[-1]
    assert len(done) < 300


@pytest.fixture
async def address(serve: Serve) -> str:
    await say("started")
    return await serve(router_of_named_users())


async def test_jobs_by_http(address: str) -> None:
    """
    The owner can list, see and cancel a job. For everybody else there is no such job.
    """
    url = f"http://{address}/socket/jobs"
    mine = await ask("GET", f"{url}?user=alice")
    one = await ask("GET", f"{url}/j1?user=alice")
    cancelled = await ask("POST", f"{url}/j1/cancel?user=alice")
    nobody = await ask("GET", url)
    others = [
        await ask("GET", f"{url}/j1?user=mallory"),
        await ask("POST", f"{url}/j1/cancel?user=mallory"),
        await ask("GET", f"{url}/j1%20u:alice?user=mallory"),
        await ask("GET", f"{url}/j2?user=alice"),
    ]

    assert [["j1", "started"]] == [[job["id"], job["state"]] for job in mine.json()]
    assert "started" == one.json()["state"]
    assert "cancelling" not in one.json()
    assert cancelled.json()["cancelling"]
    assert (401, [404] * 4) == (nobody.status_code, [answer.status_code for answer in others])
    assert [] == (await ask("GET", f"{url}?user=mallory")).json()


@pytest.mark.parametrize("id", ["imports/7", "/", "a/cancel", "cancel", "a b", "ä%2F", "a?b#c"])
async def test_odd_ids_by_http(serve: Serve, id: str) -> None:
    """
    A job whose id the caller chose, with a slash in it or what else has a meaning in a URL, is found and cancelled.
    """
    address = await serve(router_of_named_users())
    await do(jobs().advance("queued", JobKey.of("u:alice", id), {**ABOUT, "id": id}))
    url = f"http://{address}/socket/jobs/{quote(id, safe='')}"

    found = await ask("GET", f"{url}?user=alice")
    cancelled = await ask("POST", f"{url}/cancel?user=alice")

    assert (id, "queued") == (found.json().get("id"), found.json().get("state")), found.text
    assert (id, "cancelled") == (cancelled.json().get("id"), cancelled.json().get("state")), cancelled.text


async def test_another_site_cannot_cancel(serve: Serve) -> None:
    """
    A page of another site cannot cancel a job with the visitor's cookies.
    """
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect(cookies: dict[str, str]) -> User:
        return User(cookies["who"])

    await say("started")
    address = await serve(router)
    url, cookie = f"http://{address}/socket/jobs/j1/cancel", {"Cookie": "who=alice"}

    foreign = await ask("POST", url, headers={**cookie, "Origin": "http://elsewhere.example"})
    own = await ask("POST", url, headers={**cookie, "Origin": f"http://{address}"})

    assert (403, 200) == (foreign.status_code, own.status_code)


async def test_jobs_over_the_socket(serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    A client cancels, and reads what a job has written, over its socket; what is not its own is not there.
    """
    address = await serve(router_of_named_users())
    await say("started")
    for number in range(1, 251):
        await do(jobs().write(KEY, "r1", number, f"{number} "))
    alice, mallory = await open_speaker(address, "alice"), await open_speaker(address, "mallory")
    await alice.hello()
    await mallory.hello()

    await alice.ask("ping")
    await alice.frames_until("pong")
    await alice.ask("jobs")
    listed = await alice.frames_until("jobs")
    await alice.ask("cancel", job="j1", request="a")
    await alice.frames_until("job", cancelling=True)
    await alice.ask("read", job="j1", after=10, request="b")
    pieces = [(await alice.frames_until("chunk"))["chunk"]["n"] for _ in range(240)]
    await mallory.ask("cancel", job="j1", request="c")
    refused = await mallory.control("error")
    await mallory.ask("read", job="j1", request="d")
    unread = await mallory.control("error")
    odd = []
    for after in ("x", -1, True, 2**70):
        await mallory.ask("read", job="j1", after=after)
        odd.append((await mallory.control("error"))["error"])

    assert ["j1"] == [job["id"] for job in listed["jobs"]]
    assert list(range(11, 251)) == pieces
    assert {"error": "No such job", "request": "c"} == refused
    assert {"error": "No such job", "request": "d"} == unread
    assert 4 == len([error for error in odd if error.startswith("!read")])


async def test_what_is_not_kept_any_more_is_told(serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    Who reads what a job has written from the beginning is told that the beginning is gone.
    """
    await say("started")
    for number in range(1, 41):
        await do(jobs().write(KEY, "r1", number, "x" * 32_768))
    alice = await open_speaker(await serve(router_of_named_users()), "alice")
    await alice.hello()
    await alice.ask("read", job="j1")

    pieces = [(await alice.frames_until("chunk"))["chunk"] for _ in range(32)]

    assert list(range(9, 41)) == [piece["n"] for piece in pieces]
    assert [9] == [piece["n"] for piece in pieces if "gap" in piece]


async def test_a_ping_waits_for_no_handler(serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    A client that asks whether the connection lives is answered, though all its messages are being handled yet.
    """
    router, release = router_of_named_users(), asyncio.Event()

    @router.on_message(type="binary")
    async def on_binary(data: bytes) -> None:
        await release.wait()

    alice = await open_speaker(await serve(router), "alice")
    await alice.hello()
    for _ in range(10):
        await alice.client.connection.send(b"\nwait")
    await alice.ask("ping")

    await alice.frames_until("pong")
    release.set()


async def test_many_jobs_with_long_texts_close_nobody(
    serve: Serve, open_speaker: OpenSpeaker, configure: Configure
) -> None:
    """
    `ready` comes whole, however much there is to tell of jobs, and however little may wait for a client.
    """
    configure(max_queued_bytes=256 * 1024)
    text = "\x01" * 500
    for number in range(100):
        about = {**ABOUT, "id": f"j{number}", "title": text, "state": "failed", "error": text, "message": text}
        await do(jobs().advance("ended", JobKey("u:alice", f"j{number}"), about))
    alice = await open_speaker(await serve(router_of_named_users()), "alice", max_size=None)

    assert 100 == len((await alice.hello())["jobs"])


async def test_a_middleware_says_who_it_is(serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    A user whom an ASGI middleware has authenticated is the user of the socket and of the routes; nobody else is asked.
    """
    app, router = FastAPI(), SocketRouter("/socket")
    await say("started")

    @router.on_connect
    async def on_connect() -> User:
        raise HTTPException(401)

    class Authentication:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "lifespan":
                await authenticated("alice")
            await self.app(scope, receive, send)

    app.add_middleware(Authentication)
    address = await serve(router, app=app)

    ready = await (await open_speaker(address)).hello()
    listed = await ask("GET", f"http://{address}/socket/jobs")

    assert ("alice", ["j1"]) == (ready["user"], [job["id"] for job in ready["jobs"]])
    assert ["j1"] == [job["id"] for job in listed.json()]


class Options(BaseModel):
    lang: str
    parts: list[int] = []


@pytest.fixture
async def tasks(redis_server: EmbeddedRedis) -> AsyncIterator[tuple[Celery, Any, Any]]:
    app = Celery("tasks", broker=redis_server.url, set_as_current=False)
    app.conf.task_ignore_result = True
    install(app)

    @app.task(name="tasks.count", shared=False)
    @notify_user
    def count(text: str, times: int = 1, parts: list[int] = [], options: Options | None = None) -> int:  # noqa: B006
        return times

    @app.task(name="tasks.keep", shared=False)
    @notify_user
    def keep(upload: str, file: str) -> None: ...

    yield app, count, keep
    app.close()


async def queued(app: Celery) -> list[dict[str, Any]]:
    """Return the arguments of the tasks that wait in the queue."""

    def take() -> list[dict[str, Any]]:
        arguments = []
        with app.connection_for_read() as connection, connection.SimpleQueue("celery") as queue:
            while True:
                try:
                    message = queue.get(block=False)
                except queue.Empty:
                    return arguments
                message.ack()
                arguments.append({**message.payload[1], "user": message.headers["qrsocket"]["user"]})

    return await asyncio.to_thread(take)


async def test_a_task_as_an_endpoint(serve: Serve, tasks: tuple[Celery, Any, Any]) -> None:
    """
    JSON, a form and text are arguments, checked against the task's annotations. The user is carried, the job answered.
    """
    app, count, _ = tasks
    router = router_of_named_users()
    router.add_job("/count", count)
    address = await serve(router)
    url = f"http://{address}/socket/count"
    options = {"lang": "en", "parts": [1, 2]}

    good = [
        await ask("POST", f"{url}?user=alice", json={"text": "a", "times": 2, "options": options}),
        await ask("POST", f"{url}?user=alice", data={"text": "b", "times": "3"}),
        await ask("POST", f"{url}?user=alice", files={"text": ("t.txt", b"c")}, data={"times": "4"}),
        await ask("POST", f"{url}?user=alice", content="d", headers={"Content-Type": "text/plain"}),
        await ask("POST", f"{url}?user=alice", data={"text": "e", "parts": "1"}),
        await ask("POST", f"{url}?user=alice", data={"text": "f", "parts": ["1", "2"]}),
    ]
    bad = [
        await ask("POST", f"{url}?user=alice", json={"times": "many"}),
        await ask("POST", f"{url}?user=alice", json={"text": "a", "other": 1}),
        await ask("POST", f"{url}?user=alice", content="{", headers={"Content-Type": "application/json"}),
        await ask("POST", f"{url}?user=alice", content=b"x", headers={"Content-Type": "image/png"}),
        await ask("POST", f"{url}?user=alice", json={"text": "x" * 2_000_000}),
        await ask("POST", url, json={"text": "a"}),
    ]
    listed = (await ask("GET", f"http://{address}/socket/jobs?user=alice")).json()

    assert [202] * 6 == [answer.status_code for answer in good], good[0].text
    assert [answer.headers["X-Job-Id"] for answer in good] == [answer.json()["id"] for answer in good]
    assert [("queued", "tasks.count")] * 6 == [(answer.json()["state"], answer.json()["task"]) for answer in good]
    assert [422, 422, 422, 415, 413, 401] == [answer.status_code for answer in bad]
    assert {answer.json()["id"] for answer in good} == {job["id"] for job in listed}
    assert [
        {"text": "a", "times": 2, "options": options, "user": "alice"},
        {"text": "b", "times": 3, "user": "alice"},
        {"text": "c", "times": 4, "user": "alice"},
        {"text": "d", "user": "alice"},
        {"text": "e", "parts": [1], "user": "alice"},
        {"text": "f", "parts": [1, 2], "user": "alice"},
    ] == await queued(app)


async def test_uploads_are_saved_as_the_application_wants(serve: Serve, tasks: tuple[Celery, Any, Any]) -> None:
    """
    With `save`, a file becomes what that returns: an argument, or several. Nothing else is taken, and no field of the
    form goes before it.
    """
    app, _, keep = tasks
    seen: list[bytes] = []

    async def save(file: UploadFile) -> dict[str, str | None]:
        seen.append(await file.read())
        return {"upload": "u1", "file": file.filename}

    router = router_of_named_users()
    router.add_job("/keep", keep, save=save)
    address = await serve(router)
    answer = await ask("POST", f"http://{address}/socket/keep?user=alice", files={"file": ("a.csv", b"1,2")})

    taken = await ask("POST", f"http://{address}/socket/keep?user=alice", json={"upload": "../x", "file": "a"})
    missing = await ask("POST", f"http://{address}/socket/keep?user=alice", data={"upload": "../x", "file": "a"})
    both = await ask(
        "POST", f"http://{address}/socket/keep?user=alice", files={"f": ("b", b"3")}, data={"upload": "../x"}
    )

    assert (202, 202) == (answer.status_code, both.status_code), answer.text
    assert (415, 422) == (taken.status_code, missing.status_code)
    assert [b"1,2", b"3"] == seen
    assert [{"upload": "u1", "file": name, "user": "alice"} for name in ("a.csv", "b")] == await queued(app)


async def test_the_queue_does_not_answer(serve: Serve, tasks: tuple[Celery, Any, Any]) -> None:
    """
    A broker that hangs is 503, with the id that the job may have yet, and the other requests do not wait for it.
    """
    app, count, _ = tasks
    with embedded_redis() as broker:
        app.conf.update(broker_url=broker.url, task_publish_retry=False)
        router = router_of_named_users()
        router.add_job("/count", count, timeout=2_000 * MS)
        app = FastAPI()

        @app.get("/plain")
        def plain() -> str:
            return "here"

        address = await serve(router, app=app)
        url = f"http://{address}/socket"
        broker.process.send_signal(SIGSTOP)
        asking = [asyncio.create_task(ask("POST", f"{url}/count?user=alice", json={"text": "a"})) for _ in range(60)]
        while not any(name.startswith("AnyIO worker thread") for name in (one.name for one in threading.enumerate())):
            await asyncio.sleep(MS)
        other = await ask("GET", f"http://{address}/plain")
        is_first = not any(task.done() for task in asking)
        answers = await asyncio.gather(*asking)
        broker.process.send_signal(SIGCONT)

    assert ("here", True) == (other.json(), is_first)
    assert {(503, "5")} == {(answer.status_code, answer.headers["Retry-After"]) for answer in answers}
    assert 60 == len({answer.headers["X-Job-Id"] for answer in answers})


async def test_endpoints_are_in_openapi(serve: Serve, tasks: tuple[Celery, Any, Any]) -> None:
    """
    OpenAPI has what the task takes, with nothing that leads nowhere, and what is answered.
    """
    _, count, _ = tasks
    router = SocketRouter("/socket", dependencies=[Depends(_nobody)])
    router.add_job("/count", count, summary="Count")
    address = await serve(router)

    paths = (await ask("GET", f"http://{address}/openapi.json")).json()["paths"]
    operation = paths["/socket/count"]["post"]
    content = operation["requestBody"]["content"]
    schema = content["application/json"]["schema"]

    assert {"/socket/ready", "/socket/jobs", "/socket/jobs/{id}", "/socket/jobs/{id}/cancel", "/socket/count"} == set(
        paths
    )
    assert ("Count", ["text"]) == (operation["summary"], schema["required"])
    assert {"text", "times", "parts", "options"} == set(schema["properties"])
    assert "$ref" not in json.dumps(operation["requestBody"])
    assert {"application/json", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"} == set(
        content
    )
    assert "202" in operation["responses"]


async def _nobody(request: Request) -> None: ...
async def test_the_client_is_served(address: str) -> None:
    """
    The browser's side comes from the same place.
    """
    answer = await ask("GET", f"http://{address}/socket/client.js")

    assert 200 == answer.status_code
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert "export" in answer.text
