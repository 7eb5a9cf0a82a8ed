"""A client of a server that runs elsewhere: what it is told of jobs, gaps and positions, and what it says itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from qrsocket.testing import Job, client
from tests.conftest import MS

READY = {"connection": "c1", "user": "alice", "epoch": "e1", "offset": 10, "recovered": False}
JOB = {"id": "j1", "task": "shop.pack", "state": "queued", "seq": 1}


@dataclass
class Result:
    """What `.delay()` returns, as far as it matters."""

    id: str


def control(name: str, **fields: Any) -> str:
    return f"!{name}\n{json.dumps(fields)}"


class FarEnd:
    """
    Attributes:
        said: What clients have said.
        left: How they went, if not in good order.
    """

    def __init__(self) -> None:
        self.url = ""
        self.said: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.left: asyncio.Queue[BaseException | None] = asyncio.Queue()


@asynccontextmanager
async def far_end(*frames: str | bytes, ready: dict[str, Any] = READY, speaks: bool = True) -> AsyncIterator[FarEnd]:
    """Serve clients, each with a `ready` and *frames*; yields the address and what they have said."""
    end = FarEnd()

    async def handle(connection: ServerConnection) -> None:
        end.said.put_nowait(await connection.recv())
        for frame in (control("ready", **ready), *frames):
            await connection.send(frame)
        try:
            async for frame in connection:
                end.said.put_nowait(frame)
        except ConnectionClosed as closed:
            end.left.put_nowait(closed.__cause__)

    protocols = [Subprotocol("qrsocket.v1")] if speaks else []
    async with serve(handle, "127.0.0.1", 0, subprotocols=protocols or None) as server:
        end.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        yield end


async def test_jobs_of_ready() -> None:
    """
    The jobs that `ready` tells are known at once, and what a newer server adds to them does no harm.
    """
    jobs = [{**JOB, "id": "j2", "state": "succeeded", "result": {"n": 1}, "colour": "green"}, JOB]
    async with far_end(ready={**READY, "jobs": jobs}) as end, client(end.url) as alice:
        assert {"j1", "j2"} == alice.jobs.keys()
        assert Job("j2", "shop.pack", "succeeded", 1, result={"n": 1}) == await alice.job_ends("j2")
        assert not alice.jobs["j1"].has_ended
        assert alice.jobs["j1"].percent is None


@pytest.mark.parametrize("state", ["succeeded", "failed", "timeout", "cancelled", "lost"])
async def test_a_job_ends(state: str) -> None:
    """
    `job_ends` waits for the end, however it ends; `job_is` finds each state that there was.
    """
    frames = [
        control("job", job={**JOB, "state": "started", "seq": 2}),
        control("job", job={**JOB, "state": "started", "seq": 3, "done": 1, "total": 2, "percent": 50}),
        control("job", job={**JOB, "state": state, "seq": 4, "error": "sold out"}),
    ]
    async with far_end(*frames) as end, client(end.url) as alice:
        ended = await alice.job_ends(Result("j1"))

        assert (state, "sold out") == (ended.state, ended.error)
        assert 2 == (await alice.job_is("j1", "started", "waiting")).seq
        assert 10 == alice.offset
        with pytest.raises(AssertionError, match=f"the job j1 to be retrying, but it did not come within {10 * MS:g}"):
            await alice.job_is("j1", "retrying", timeout=10 * MS)


async def test_the_highest_seq_wins() -> None:
    """
    What is told late does not count: a job stays as it was told with the highest `seq`, in whichever order.
    """
    frames = [control("job", job={**JOB, "state": state, "seq": seq}) for state, seq in (("lost", 5), ("started", 4))]
    async with far_end(*frames, "11\n0") as end, client(end.url) as alice:
        await alice.receives(0)

        assert "lost" == alice.jobs["j1"].state


async def test_jobs_are_no_messages() -> None:
    """
    Jobs, pieces of their text and other news come beside the messages.
    """
    frames = [
        control("job", job=JOB),
        control("chunk", chunk={"job": "j1", "n": 2, "text": "world"}),
        control("chunk", chunk={"job": "j1", "n": 1, "text": "hello "}),
        control("chunk", chunk={"job": "j1", "n": 2, "text": "world"}),
        control("pong"),
        control("newer", n=1),
        control("draining", retry_after=0.5),
        '12\n{"n": 1}',
    ]
    async with far_end(*frames) as end, client(end.url) as alice:
        await alice.receives({"n": 1})

        assert "hello world" == alice.streamed("j1")
        assert "" == alice.streamed("j2")
        assert 12 == alice.offset


async def test_a_job_that_does_not_end() -> None:
    """
    The failure names the job, and shows what was told of it.
    """
    async with far_end(control("job", job=JOB)) as end, client(end.url) as alice:
        with pytest.raises(AssertionError, match=f'(?s)the job j1 to end, .*within {20 * MS:g} s.*"state": "queued"'):
            await alice.job_ends("j1", timeout=20 * MS)


async def test_cancel() -> None:
    """
    `cancel` asks for it.
    """
    async with far_end() as end, client(end.url, auth={"token": "t"}) as alice:
        await alice.cancel("j1")

        assert '!hello\n{"auth":{"token":"t"}}' == await end.said.get()
        name, _, body = str(await end.said.get()).partition("\n")
        assert ("!cancel", "j1") == (name, json.loads(body)["job"])


async def test_where_it_was() -> None:
    """
    It comes back with the epoch and the offset of what came last, a message or a gap, and with the connection before.
    """
    for frames, epoch, offset in (
        ((), "e1", 10),
        (["11\n1", "12\n2"], "e1", 12),
        (["11\n1", control("gap", epoch="e2", offset=20)], "e2", 20),
        ([control("gap", epoch="e2", offset=20), "21 x=text\n1"], "e2", 21),
        ([control("job", job=JOB), "-\n0"], "e1", 10),
    ):
        async with far_end(*frames, "- x=text\nend") as end, client(end.url) as alice:
            await alice.receives("end", skip=True)
            await end.said.get()
            assert (epoch, offset) == (alice.epoch, alice.offset)

            await alice.reconnect()
            hello = await end.said.get()
            brought = {"epoch": epoch, "offset": offset, "connection": "c1"}
            assert brought == json.loads(str(hello).partition("\n")[2])


@pytest.mark.parametrize(
    "frame", ["no header", b"no header", "x\n1", "!ready\nnothing", "!job\n{}", "!ready\n[]", b"\xff\n"]
)
async def test_not_not_on_lowest(frame: str | bytes) -> None:
    """
    A server that says what it should not is told of, with what it has said.
    """
    async with far_end(frame) as end, client(end.url) as alice:
        with pytest.raises(AssertionError, match=r"(?s)the connection is closed: 1006 cut.*this is not qrsocket\.v1"):
            await alice.receives()
        await end.left.get()


async def test_a_cut_is_a_reset() -> None:
    """
    The server does not see a connection that is closed, but one that is broken.
    """
    async with far_end() as end, client(end.url) as alice:
        await alice.cut()

        assert isinstance(await end.left.get(), ConnectionResetError)


async def test_another_protocol() -> None:
    """
    A server that does not speak `qrsocket.v1` is told of when connecting.
    """
    async with far_end(speaks=False) as end:
        with pytest.raises(AssertionError, match=r"does not speak qrsocket\.v1"):
            async with client(end.url):
                pytest.fail("it was let in")


async def test_nobody_there() -> None:
    """
    An address at which nobody listens is told of when connecting.
    """
    with pytest.raises(AssertionError, match=r"ws://127\.0\.0\.1:1/socket could not be connected to: .*111"):
        async with client("http://127.0.0.1:1"):
            pytest.fail("it was let in")


def test_a_user_elsewhere() -> None:
    """
    Who a client is can be told only to an application that is served here.
    """
    with pytest.raises(ValueError, match="only an application that is served here"):
        client("http://127.0.0.1:1", user="alice")


async def test_no_ready() -> None:
    """
    A server that accepts and then says nothing is told of when connecting.
    """

    async def silent(connection: ServerConnection) -> None:
        async for _ in connection:
            pass

    handle: Callable[[ServerConnection], Awaitable[None]] = silent
    async with serve(handle, "127.0.0.1", 0, subprotocols=[Subprotocol("qrsocket.v1")]) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(
            AssertionError, match=f"(?s)expected ready, but it did not come within {20 * MS:g} s.*> !hello"
        ):
            async with client(url, timeout=20 * MS):
                pytest.fail("it was let in")
