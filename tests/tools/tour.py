"""What users of the shop do, and must see, whatever runs beside it."""

import json
from typing import Any

import httpx2
from redis import Redis

from qrsocket.testing import client
from qrsocket.testing.processes import WebNode
from tests.clients import PATIENCE
from tests.conftest import until
from tests.tools.shop import HOOKS_KEY, SECRET
from tests.watching import DONE, Watcher


def is_ours(alice: Watcher) -> bool:
    """Return whether our class serves this connection: it refuses the compression that uvicorn would agree to."""
    return not alice.device.connection.protocol.extensions


async def watch_jobs(alice: Watcher) -> None:
    """Each kind of job is told of, each state once and in order, and a job that runs is cancelled."""
    long = await alice.start("/take-long")
    await alice.sees(long, "started")
    await alice.cancel(long)
    expected = {
        long: ["queued", "started", "cancelled"],
        await alice.start("/count", words=["to", "be"]): DONE,
        await alice.start("/count-later", words=["or"]): DONE,
        await alice.start("/fail", secret=SECRET): ["queued", "started", "failed"],
        await alice.start("/succeed-at-second"): ["queued", "started", "retrying", "started", "succeeded"],
        await alice.start("/queue-another", words=["not"]): DONE,
    }
    await alice.sees_end_of(*expected)
    for word in ("to", "be", "or", "not"):
        await alice.hears({"word": word})

    assert expected == {job: alice.states(job) for job in expected}
    assert SECRET not in json.dumps([alice.told, alice.messages])


async def use_sockets(node: WebNode, redis: Redis) -> None:
    """Messages, requests, errors, topics, recovery and presence are as they are without a tool."""
    said = {"n": 1}
    async with (
        client(node.url, query={"user": "bob"}, timeout=PATIENCE) as bob,
        client(node.url, auth={"name": "carol"}, timeout=PATIENCE) as carol,
    ):
        await until(lambda: {"online bob", "online carol"} <= hooks(redis))
        assert {"answer": said} == await bob.request(said)
        assert {"heard": said} == await bob.receives()
        await carol.send({"fail": SECRET})
        assert (await carol.receives())["error"].startswith("Internal error (")
        room = await bob.join("room:tea")
        await carol.join("room:tea")
        await room.members_are("bob", "carol")
        await _misses_nothing(node, carol)
    await until(lambda: {"offline bob", "offline carol"} <= hooks(redis))


async def _misses_nothing(node: WebNode, carol: Any) -> None:
    await carol.cut()
    async with httpx2.AsyncClient(timeout=PATIENCE, trust_env=False) as http:
        await http.post(f"{node.url}/send/carol", params={"message": "while you were away"})
    await carol.reconnect()
    assert carol.recovered
    assert "while you were away" == await carol.receives()


def hooks(redis: Redis) -> set[str]:
    return {word.decode() for word in redis.lrange(HOOKS_KEY, 0, -1)}
