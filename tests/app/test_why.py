"""`qrsocket why` says what became of a message."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis
from typer.testing import CliRunner

from qrsocket import socket
from qrsocket.cli.app import app
from qrsocket.context import Context, TaskRun, running_for
from qrsocket.events import Event, Offered, observed
from qrsocket.keys import Keyspace
from qrsocket.settings import get_settings
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.app.speaking import VERSION_1, Speaker
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure

SECRET = "sesame"
Why = Callable[..., Awaitable[str]]


@pytest.fixture
def why() -> Why:
    """Ask until the answer holds some words: nodes note what they do a moment later."""

    async def ask(*words: str, until: str) -> str:
        async with asyncio.timeout(PATIENCE):
            while True:
                result = await asyncio.to_thread(CliRunner().invoke, app, ["why", *words])
                if until in result.stdout:
                    assert SECRET not in result.output
                    return result.stdout
                assert 0 == result.exit_code, result.exception
                await asyncio.sleep(20 * MS)

    return ask


@pytest.fixture
async def address(serve: Serve, configure: Configure) -> str:
    configure(trail_seconds=600, node_name="web-1")
    return await serve(router_of_named_users())


async def test_who_got_it(address: str, open_client: Open, why: Why) -> None:
    """
    Who sent it, to whom, and each connection that it was written to.
    """
    alice, phone = [await open_client(address, "/socket?user=alice") for _ in range(2)]
    await socket.to("alice").send("before")  # so that both have begun
    for client in (alice, phone):
        await client.receive_text()
    with running_for(Context(user="bob", task_run=TaskRun("job-7", 300.0))):
        delivery = await socket.to("alice").send(SECRET)
    await alice.receive_text()
    await phone.receive_text()

    told = await why(delivery.message_id, until="written to 2")

    assert "job job-7 in " in told
    assert "sent it to u:alice at " in told
    assert "2 connections on web-1." in told


async def test_nobody_was_there(address: str, open_client: Open, why: Why) -> None:
    """
    Whether it is kept decides what comes next: who comes back is said to have got it.
    """
    assert "nobody was connected, and it is not kept" in await why(
        (await socket.to("alice").send(SECRET, keep=False)).message_id, until="→"
    )
    alice = Speaker(await open_client(address, "/socket?user=alice", subprotocols=[VERSION_1]))
    await alice.hello()
    await alice.cut()
    delivery = await socket.to("alice").send(SECRET, message_id="order-7")
    while delivery.connections:  # it is not known yet that the client has gone
        delivery = await socket.to("alice").send(SECRET, message_id=f"{delivery.message_id}+")
    assert "nobody was connected; who comes back in time gets it" in await why(delivery.message_id, until="→")

    again = Speaker(await open_client(address, "/socket?user=alice", subprotocols=[VERSION_1]))
    await again.hello(alice.position)
    assert SECRET == await again.receive()

    assert "given to 1 that had missed it" in await why(delivery.message_id, until="given to")


async def test_it_was_sent_twice(address: str, open_client: Open, why: Why) -> None:
    """
    What is sent again under the same id is said to be.
    """
    await open_client(address, "/socket?user=alice")
    for _ in range(2):
        await socket.to("alice").send(SECRET, message_id="order-7")

    told = await why("order-7", until="written to 1")

    assert "sent it again under the same id: nobody gets it twice" in told


async def test_a_user(address: str, open_client: Open, why: Why) -> None:
    """
    What was sent to a user, and how their connections came and went.
    """
    alice = await open_client(address, "/socket?user=alice")
    delivery = await socket.to("alice").send(SECRET)
    await alice.connection.close(4321, "enough")

    told = await why("--user", "alice", until="closed: 4321")
    assert "enough" not in told

    assert f"message {delivery.message_id} at offset " in told
    assert " connected" in told


async def test_a_client_that_does_not_read(address: str, open_client: Open, why: Why, configure: Configure) -> None:
    """
    That the message waits for it is said, and that the other got it.
    """
    here, slow = await open_client(address, "/socket?user=alice"), await open_client(address, "/socket?user=alice")
    await socket.to("alice").send("before")
    for client in (here, slow):
        await client.receive_text()
    slow.connection.transport.pause_reading()
    offers: list[Event] = []
    with observed(SimpleNamespace(on_event=offers.append), messages=True):
        while not any(isinstance(offer, Offered) and offer.waiting for offer in offers):
            await socket.to("alice").send("x" * 200_000, keep=False)
            await here.receive_text()
    delivery = await socket.to("alice").send(SECRET)
    await why(delivery.message_id, until="written to 1, waits for 1")
    await here.connection.close()
    slow.connection.transport.abort()


async def test_notes_as_json(address: str, why: Why) -> None:
    """
    For programs: a list of notes, each with its time in ms.
    """
    delivery = await socket.to(["alice", "bob"]).send(SECRET)

    notes: list[dict[str, Any]] = json.loads(await why(delivery.message_id, "--json", until="sent"))

    assert ["sent"] == [note["what"] for note in notes]
    assert {"u:alice", "u:bob"} == {one["stream"] for one in notes[0]["streams"]}
    assert 2 == notes[0]["recipients"]


def test_no_trail_by_default(redis: Redis) -> None:
    """
    Nothing is noted unless it is set, and the answer says so.
    """

    async def send() -> str:
        return (await socket.to("alice").send(SECRET)).message_id

    id = asyncio.run(send())
    result = CliRunner().invoke(app, ["why", id])

    assert [] == redis.keys(f"{Keyspace.of(get_settings()).shards[0].base}trail:*")
    assert 1 == result.exit_code
    assert "QRSOCKET_TRAIL_SECONDS" in result.stderr


@pytest.mark.parametrize("words", [[], ["m1", "--user", "alice"]])
def test_one_of_two(words: list[str]) -> None:
    """
    A message, or a user.
    """
    result = CliRunner().invoke(app, ["why", *words])

    assert 1 == result.exit_code
    assert "name a message, or a user with --user" in result.stderr
