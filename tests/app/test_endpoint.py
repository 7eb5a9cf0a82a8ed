"""A task as an HTTP endpoint: where its arguments come from, whoever has read them before, and what they may cost."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import httpx2
import pytest
from celery import Celery, Task
from fastapi import APIRouter, Body, Depends, FastAPI, File, Form, Request, UploadFile
from redis import Redis
from starlette.types import Receive, Scope, Send

from qrsocket.celery import install, notify_user
from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.server import SocketRouter, body
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.app.turns import LONGEST_TURN, measured_turns
from tests.clients import PATIENCE, Open
from tests.conftest import MS

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypes


class Queue:
    """A Celery application whose messages stay in Redis, to be looked at."""

    def __init__(self, redis_server: EmbeddedRedis, redis: Redis) -> None:
        self.app = install(Celery("tasks", broker=redis_server.url, set_as_current=False))
        self.app.conf.task_ignore_result = True
        self._redis = redis

    def task(self, function: Any, **options: Any) -> Any:
        return self.app.task(name=f"tasks.{function.__name__}", shared=False, **options)(notify_user(function))

    def arguments(self) -> list[dict[str, Any]]:
        """Return the arguments of what was queued, oldest first."""
        messages = [json.loads(message) for message in reversed(self._redis.lrange("celery", 0, -1))]
        return [json.loads(_decoded(message))[1] for message in messages]


def _decoded(message: dict[str, Any]) -> bytes:
    return base64.b64decode(message["body"])


@pytest.fixture
def queue(redis_server: EmbeddedRedis, redis: Redis) -> Iterator[Queue]:
    queue = Queue(redis_server, redis)
    yield queue
    queue.app.close()


async def post(url: str, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(verify=False) as client:
        return await client.post(url, timeout=PATIENCE, params={"user": "alice"}, **options)


def count(text: str = "", numbers: list[int] | None = None) -> None: ...


async def read_body(request: Request) -> None:
    await request.body()


async def read_json(request: Request) -> None:
    await request.json()


async def read_form(request: Request) -> None:
    await request.form()


async def read_stream(request: Request) -> None:
    async for _chunk in request.stream():
        pass


async def take_form(text: Annotated[str, Form()]) -> None: ...


async def take_file(file: Annotated[UploadFile, File()]) -> None: ...


async def take_json(body: Annotated[dict[str, Any], Body()]) -> None: ...


JSON, FORM, FILE = {"json": {"text": "a"}}, {"data": {"text": "a"}}, {"files": {"text": ("t.txt", b"a")}}


@pytest.mark.parametrize(
    ("dependency", "sent"),
    [
        (read_body, JSON),
        (read_body, FORM),
        (read_body, FILE),
        (read_body, {"content": "a", "headers": {"Content-Type": "text/plain"}}),
        (read_json, JSON),
        (read_form, FORM),
        (read_form, FILE),
        (take_form, FORM),
        (take_json, JSON),
    ],
)
async def test_a_body_that_was_read_before_is_there(serve: Serve, queue: Queue, dependency: Any, sent: Any) -> None:
    """
    A dependency that reads the body, as such, as JSON or as a form, leaves it to the task.
    """
    router = router_of_named_users()
    router.add_job("/count", queue.task(count), dependencies=[Depends(dependency)])

    answer = await post(f"http://{await serve(router)}/socket/count", **sent)

    assert 202 == answer.status_code, answer.text
    assert [{"text": "a"}] == queue.arguments()


async def test_a_body_that_was_read_before_is_limited(serve: Serve, queue: Queue) -> None:
    """
    `max_bytes` counts for a body that a dependency has read, too.
    """
    router = router_of_named_users()
    router.add_job("/count", queue.task(count), dependencies=[Depends(read_body)], max_bytes=100)

    assert 413 == (await post(f"http://{await serve(router)}/socket/count", json={"text": "a" * 101})).status_code


async def test_a_body_that_is_gone_is_told(serve: Serve, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where a middleware has taken the body, and lets nobody else read it, the answer is an error and not silence.
    """
    monkeypatch.setattr(body, "CHUNK_TIMEOUT", 100 * MS)
    router = router_of_named_users()
    router.add_job("/count", queue.task(count))
    app = FastAPI()

    class Swallow:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            while scope["type"] == "http" and (await receive()).get("more_body"):
                pass
            await self.inner(scope, receive, send)

    app.add_middleware(Swallow)

    assert 408 == (await post(f"http://{await serve(router, app=app)}/socket/count", json={"text": "a"})).status_code


async def test_a_body_that_stops_half_way_is_told(serve: Serve, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A body whose rest does not come is answered with 408.
    """
    monkeypatch.setattr(body, "CHUNK_TIMEOUT", 100 * MS)
    router = router_of_named_users()
    router.add_job("/count", queue.task(count))
    host, _, port = (await serve(router)).partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /socket/count?user=alice HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")

    async with asyncio.timeout(PATIENCE):
        assert b"HTTP/1.1 408" in await reader.readline()
    writer.close()


async def test_a_body_that_trickles_is_ended(serve: Serve, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A body that comes byte by byte, each in time, is answered with 408 all the same.
    """
    monkeypatch.setattr(body, "BODY_TIMEOUT", 100 * MS)
    monkeypatch.setattr(body, "SLOWEST_BYTES_PER_SECOND", 1_000_000)
    router = router_of_named_users()
    router.add_job("/count", queue.task(count))
    host, _, port = (await serve(router)).partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /socket/count?user=alice HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{")
    answer = asyncio.ensure_future(reader.readline())

    async with asyncio.timeout(PATIENCE):
        while not answer.done():
            writer.write(b" ")
            await asyncio.wait([answer], timeout=10 * MS)
    assert b"HTTP/1.1 408" in answer.result()
    writer.close()


async def test_the_path_names_arguments(serve: Serve, queue: Queue) -> None:
    """
    A parameter that the path of the endpoint, or a prefix of its router, names comes from there, validated, whatever
    the body says; OpenAPI says so.
    """

    def load(project: int, tenant: str, file: str = "") -> None: ...

    router = router_of_named_users()
    router.add_job("/imports/{project}", queue.task(load))
    parent = APIRouter()
    parent.include_router(router, prefix="/tenants/{tenant}")
    app = FastAPI()
    address = await serve(parent, app=app)
    url = f"http://{address}/tenants/acme/socket/imports"

    answers = [
        await post(f"{url}/7", json={"file": "a.csv"}),
        await post(f"{url}/7", json={"file": "b.csv", "project": 8, "tenant": "other"}),
        await post(f"{url}/7", data={"file": "c.csv", "project": "8"}),
        await post(f"{url}/7", content="other", headers={"Content-Type": "text/plain"}),
    ]
    wrong = await post(f"{url}/seven", json={})

    assert [202] * 4 == [answer.status_code for answer in answers], [answer.text for answer in answers]
    assert [("acme", 7)] * 4 == [(one["tenant"], one["project"]) for one in queue.arguments()]
    assert ["a.csv", "b.csv", "c.csv", "other"] == [one.get("file") for one in queue.arguments()]
    assert (422, ["body", "project"]) == (wrong.status_code, wrong.json()["detail"][0]["loc"])
    operation = app.openapi()["paths"]["/tenants/{tenant}/socket/imports/{project}"]["post"]
    assert ("project", "path") in [(one["name"], one["in"]) for one in operation["parameters"]]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert {"tenant", "file"} == schema["properties"].keys()


def test_a_path_may_name_what_only_dependencies_take(queue: Queue) -> None:
    """
    What the path names and the task does not take is left to the endpoint's dependencies.
    """
    SocketRouter().add_job("/teams/{team}/count", queue.task(count))


@pytest.mark.parametrize("options", [{"bind": True}, {}])
def test_what_only_a_type_checker_imports(queue: Queue, options: dict[str, Any]) -> None:
    """
    A task whose `self` and result are annotated for type checkers alone becomes an endpoint; for one of its arguments
    that is refused, by name.
    """

    def fine(self: "Task[OnlyForTypes, OnlyForTypes]", text: str) -> "OnlyForTypes": ...

    def wrong(price: "OnlyForTypes") -> None: ...

    if options:
        SocketRouter().add_job("/fine", queue.task(fine, **options))
    with pytest.raises(TypeError, match=r"tasks\.wrong: the annotation 'OnlyForTypes' of price cannot be read"):
        SocketRouter().add_job("/wrong", queue.task(wrong))


HUGE = {
    "wrong items": b'{"numbers": [' + b",".join([b'"x"'] * 250_000) + b"]}",
    "many values": b'{"numbers": [' + b",".join([b"{}"] * 340_000) + b"]}",
    "wrong items, just below": b'{"numbers": [' + b",".join([b'"x"'] * 99_000) + b"]}",
    "many fields": b"{" + b",".join(b'"f%d":0' % number for number in range(90_000)) + b"}",
    "one field": b'{"' + b"f" * 1_000_000 + b'": 0}',
}


@pytest.mark.parametrize("body", HUGE.values(), ids=HUGE.keys())
async def test_a_huge_body_holds_up_nobody(serve: Serve, open_client: Open, queue: Queue, body: bytes) -> None:
    """
    A body of 1 MB that is wrong all over is parsed beside the event loop, and answered in short.
    """
    router = router_of_named_users()
    router.add_job("/count", queue.task(count))
    address = await serve(router)
    bob = await open_client(address, "/socket?user=bob")

    async with httpx2.AsyncClient(timeout=PATIENCE) as client, measured_turns() as turns:
        url = f"http://{address}/socket/count?user=alice"
        posting = asyncio.gather(*(client.post(url, content=body) for _ in range(3)))
        while not posting.done():
            await bob.send("still served")
            await bob.receive()
        answers = await posting

    assert [422] * 3 == [answer.status_code for answer in answers]
    assert max(len(answer.content) for answer in answers) < 5_000
    assert turns.longest < LONGEST_TURN


async def test_a_job_knows_the_page_that_has_queued_it(serve: Serve, queue: Queue, redis: Redis) -> None:
    """
    A job runs for the connection that its request says to be of, so that `others` leaves that out.
    """
    router = router_of_named_users()
    router.add_job("/count", queue.task(count))
    url = f"http://{await serve(router)}/socket/count"

    await post(url, json={"text": "a"}, headers={"X-Socket-Connection": "0" * 32})

    message = json.loads(redis.lrange("celery", 0, 0)[0])
    assert {"user": "alice", "connection": "0" * 32} == message["headers"]["qrsocket"]
