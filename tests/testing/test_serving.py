"""How applications are served: shared, one after the other, and ended whatever happens."""

import asyncio
import time

import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from qrsocket import socket
from qrsocket.server import SocketRouter
from qrsocket.testing import client, serving
from tests.conftest import MS
from tests.testing import shops

pytestmark = pytest.mark.usefixtures("redis_server")


async def test_shared() -> None:
    """
    Clients that are open at the same time share a server; the last one to leave ends it, and it can begin again.
    """
    seen: list[str] = []
    app = shops.with_lifespan(seen)

    async with client(app, user="alice") as alice:
        async with client(app, user="bob") as bob:
            assert alice.url == bob.url
        assert ["begin"] == seen
        await alice.receives_nothing()
    assert ["begin", "end"] == seen
    async with client(app, user="alice"):
        pass
    assert ["begin", "end"] * 2 == seen


async def test_crossed() -> None:
    """
    Who came first may leave first.
    """
    app = shops.echo()
    alice, bob = client(app, user="alice"), client(app, user="bob")
    await alice.__aenter__()
    await bob.__aenter__()
    await alice.__aexit__(None, None, None)

    await bob.send(1)
    await bob.receives(1)
    await bob.__aexit__(None, None, None)


async def test_many_at_once() -> None:
    """
    Clients that come and go at the same time, and while the server stops, all are served.
    """
    seen: list[str] = []
    app = shops.with_lifespan(seen)

    async def come_and_go(name: str) -> None:
        async with client(app, user=name, timeout=5) as someone:
            await someone.receives_nothing()

    for _ in range(5):
        await asyncio.gather(*(come_and_go(f"user{n}") for n in range(5)))
    assert ["begin", "end"] * (len(seen) // 2) == seen


async def test_two_applications() -> None:
    """
    Each application is a node of its own, and what one sends arrives at the other's clients.
    """
    async with client(shops.echo(), user="alice") as here, client(shops.echo(), user="alice") as there:
        assert here.url != there.url
        delivery = await socket.to("alice").send({"n": 1})

        assert 2 == delivery.nodes
        await here.receives({"n": 1})
        await there.receives({"n": 1})


async def test_does_not_begin() -> None:
    """
    A lifespan that fails is told with its own exception, and a later client gets a new start.
    """
    seen: list[str] = []
    app = shops.with_lifespan(seen, fails="begin")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="did not start: its lifespan failed") as failure:
            async with client(app):
                pytest.fail("it was let in")
        assert isinstance(failure.value.__cause__, OSError)
    assert ["begin"] * 2 == seen


async def test_does_not_end() -> None:
    """
    A lifespan that fails at its end is told too.
    """
    with pytest.raises(RuntimeError, match="did not stop: its lifespan failed") as failure:
        async with client(shops.with_lifespan([], fails="end"), user="alice"):
            pass
    assert isinstance(failure.value.__cause__, OSError)


@pytest.mark.parametrize("limit", ["START_TIMEOUT", "STOP_TIMEOUT"])
async def test_hangs(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A lifespan that does not begin, or end, is given up, and leaves no task behind.
    """
    monkeypatch.setattr(serving, limit, 50 * MS)
    before = asyncio.all_tasks()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if limit == "STOP_TIMEOUT":
            await send({"type": "lifespan.startup.complete"})
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match=f"its lifespan took over {50 * MS:g} s"):
        async with serving.served(app):
            pass
    assert before == asyncio.all_tasks()


async def test_an_exception_in_the_block() -> None:
    """
    A test that fails leaves nothing behind, and is not kept waiting: not by handlers that hang, nor by the server.
    """
    app = FastAPI()
    router = SocketRouter()
    handling = asyncio.Event()

    @router.on_message
    async def on_message() -> None:
        handling.set()
        await asyncio.Event().wait()

    app.include_router(router)

    async def fail() -> None:
        async with client(app, user="alice") as alice, client(app, user="bob"):
            await alice.send(1)
            await handling.wait()
            raise ZeroDivisionError

    before = asyncio.all_tasks()
    began_at = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        await fail()

    assert time.monotonic() - began_at < min(1_000 * MS, 3.0)  # so long does a node wait for hooks
    assert before == asyncio.all_tasks()


def test_two_event_loops() -> None:
    """
    An application that is served in one event loop is not served in another: that is told, not waited for.
    """
    app = shops.echo()
    with asyncio.Runner() as first, asyncio.Runner() as second:
        alice = client(app, user="alice")
        first.run(alice.__aenter__())

        async def connect() -> None:
            async with client(app, user="bob"):
                pytest.fail("it was let in")

        with pytest.raises(RuntimeError, match="served already, in an event loop that is another"):
            second.run(connect())
        with pytest.raises(RuntimeError, match="connected in another event loop"):
            second.run(alice.receives())
        first.run(alice.__aexit__(None, None, None))
        second.run(_talk(app))


async def _talk(app: FastAPI) -> None:
    async with client(app, user="alice") as alice:
        await alice.send(1)
        await alice.receives(1)


def test_uvloop() -> None:
    """
    On uvloop it works the same, a cut included.
    """
    uvloop = pytest.importorskip("uvloop")

    async def talk() -> None:
        async with client(shops.echo(), user="alice") as alice:
            await alice.cut()
            await alice.reconnect()
            await alice.send(1)
            await alice.receives(1)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk())
