"""What one user may cost a node: his messages are taken by their bytes and their CPU time, too, and end with him."""

import asyncio
import json
import time
from contextlib import suppress

import pytest
from fastapi import FastAPI
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from qrsocket import User, clients, socket
from qrsocket.jobs.table import JobKey, Jobs
from qrsocket.keys import Keyspace
from qrsocket.roundtrip import arun
from qrsocket.server import SocketRouter
from qrsocket.server.lifespan import running_node
from qrsocket.settings import get_settings
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.app.speaking import OpenSpeaker
from tests.app.turns import LONGEST_TURN, measured_turns
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure, until

COSTLY = {
    "objects": "[" + ",".join(["{}"] * 21_000) + "]",
    "numbers": "[" + ",".join(["0"] * 32_000) + "]",
    "lists": "[" + ",".join(["[[]]"] * 13_000) + "]",
    "keys": "{" + ",".join(f'"{number}":0' for number in range(7_000)) + "}",
    "not JSON": "[" + ",".join(["{}"] * 21_000),
    "too deep": "[" * 65_000,
}


async def flood(address: str, frame: str) -> None:
    """Send a burst on each of ten connections of two users, for two seconds at most."""

    async def burst(user: int) -> None:
        async with connect(f"ws://{address}/socket?user={user}", max_queue=None, close_timeout=0) as connection:
            with suppress(ConnectionClosed, TimeoutError):
                async with asyncio.timeout(2):
                    for _ in range(60):
                        await connection.send(frame)
                    async for _answer in connection:
                        pass

    await asyncio.gather(*(burst(number % 2) for number in range(10)))


@pytest.mark.parametrize("frame", COSTLY.values(), ids=COSTLY.keys())
@pytest.mark.parametrize("size", [2, 10_000])
async def test_a_burst_of_costly_messages(serve: Serve, open_client: Open, frame: str, size: int) -> None:
    """
    While two users send bursts of messages that are cheap to send and dear to read, another user is served: his small
    messages at once, and his large ones when one of each of the others was read.
    """
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> User:
        return User(query["user"])

    @router.on_message
    async def on_message(data: list[int] | dict[str, int] | str, connection: str) -> None:
        await socket.send({"ok": connection})

    address = await serve(router)
    bob = await open_client(address, "/socket?user=bob")
    waited, cpu = [], time.process_time()

    async with measured_turns() as turns:
        # In a loop of their own: what they do themselves is not the node's cost.
        flooding = asyncio.create_task(asyncio.to_thread(asyncio.run, flood(address, frame)))
        while not flooding.done():
            cpu = time.process_time()
            await bob.send("x" * size)
            await bob.receive()
            waited.append(time.process_time() - cpu)
            await asyncio.sleep(60 * MS)  # as fast as he may
        await flooding

    assert turns.longest < LONGEST_TURN
    assert max(waited) < 1.0, waited


async def test_large_messages_are_slowed_and_not_refused(serve: Serve, open_client: Open) -> None:
    """
    A client that sends a burst of large messages, and no more of them than it may send small ones, has all of them
    handled.
    """
    address = await serve(router_of_named_users())
    alice = await open_client(address, "/socket?user=alice")
    for number in range(40):
        await alice.send([number, "x" * 20_000])

    # Eight are handled at once, so that their answers may overtake each other.
    assert list(range(40)) == sorted([(await alice.receive())["echo"][0] for _ in range(40)])


async def test_what_waits_goes_with_its_client(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    Messages that wait for a handler when their client leaves are dropped; those that are handled by then are finished.
    """
    configure(max_handlers_in_flight=2)
    router, handled, may_end = SocketRouter("/socket"), [], asyncio.Event()

    @router.on_message
    async def on_message(data: int) -> None:
        await may_end.wait()
        handled.append(data)

    @router.on_offline
    async def on_offline(user_id: str) -> None: ...

    address = await serve(router)
    client = await open_client(address)
    for number in range(10):
        await client.send(number)
    await client.connection.close()
    other = await open_client(address)
    await other.send(99)
    may_end.set()
    await until(lambda: 99 in handled)

    assert {0, 1, 99} == set(handled)


async def test_what_waits_is_bounded_in_bytes(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    While large messages wait for handlers nothing more is read; all are handled in the end.
    """
    configure(max_handlers_in_flight=1, max_waiting_bytes=30_000)
    router, may_end = SocketRouter("/socket"), asyncio.Event()

    @router.on_message(type="string")
    async def on_message(data: str) -> None:
        await may_end.wait()
        await socket.send({"length": len(data)})

    app = FastAPI()
    client = await open_client(await serve(router, app=app))
    for _ in range(20):
        await client.send_text("x" * 10_000)
    (connection,) = running_node(app).hub.connections  # type: ignore[union-attr]
    inbox = connection.on_order.__self__._dispatch.inbox  # type: ignore[attr-defined]  # its session's
    await until(lambda: inbox.is_full)
    for _turn in range(500):  # of the loop, in each of which it could read another one
        await asyncio.sleep(0)
    waiting = len(inbox.messages.waiting)
    may_end.set()

    assert 3 == waiting
    assert [{"length": 10_000}] * 20 == [await client.receive() for _ in range(20)]


@pytest.mark.parametrize("control", ["jobs", "read", "cancel", "hello"])
async def test_what_is_asked_of_us_is_short(serve: Serve, open_speaker: OpenSpeaker, control: str) -> None:
    """
    A control frame of more than 4 KiB is refused unread: nothing that we ask for is that long.
    """
    alice = await open_speaker(await serve(router_of_named_users()), "alice")
    await alice.hello()
    await alice.client.send_text(f"!{control}\n" + json.dumps({"job": "x" * 5_000}))
    error = (await alice.control("error"))["error"]

    assert "at most 4096" in error, error


async def test_answers_about_jobs_are_paid_for(serve: Serve, open_speaker: OpenSpeaker, configure: Configure) -> None:
    """
    After a long answer about its jobs a client waits for the next one: so many bytes are answered in a second.
    """
    configure(rate=10, rate_burst=5)
    address = await serve(router_of_named_users())
    jobs, key = Jobs(Keyspace.of(get_settings()).shards[0], get_settings()), JobKey("u:alice", "j1")
    started = {"id": "j1", "task": "tasks.count", "turn": 0, "attempt": 1, "run": "r1"}
    calls = [jobs.advance("started", key, started), *(jobs.write(key, "r1", n, "x" * 32_768) for n in range(1, 8))]
    for call in calls:
        await arun(clients.awaiting(get_settings()), call, timeout=PATIENCE)
    alice = await open_speaker(address, "alice")
    await alice.hello()
    await alice.ask("read", job="j1", after=0)
    while (await alice.frames_until("chunk"))["chunk"]["n"] < 7:
        pass
    began = time.monotonic()
    await alice.ask("jobs")
    await alice.frames_until("jobs")

    assert time.monotonic() - began > 0.5
