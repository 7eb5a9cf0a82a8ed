"""What users of the shop do, and must see, whatever runs beside it."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx2
from redis import Redis

from qrsocket.testing import client
from qrsocket.testing.processes import WebNode
from tests.clients import PATIENCE, Client, Open
from tests.conftest import until
from tests.tools.shop import HOOKS_KEY, SECRET

ENDS = {"succeeded", "failed", "timeout", "cancelled", "lost"}
DONE = ["queued", "started", "succeeded"]


@dataclass
class Watcher:
    """
    A device that sees jobs of its user.

    Attributes:
        told: What it was told of each job, in order.
        messages: What else it was sent.
    """

    user: str
    node: WebNode
    device: Client
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    messages: list[Any] = field(default_factory=list)

    async def start(self, path: str, **arguments: Any) -> str:
        answer = await self.post(f"/socket{path}", arguments)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def post(self, path: str, body: Any = None) -> httpx2.Response:
        async with httpx2.AsyncClient(timeout=PATIENCE, trust_env=False) as http:
            return await http.post(f"{self.node.url}{path}", params={"user": self.user}, json=body)

    async def cancel(self, job: str) -> None:
        answer = await self.post(f"/socket/jobs/{job}/cancel")
        assert answer.status_code == 200, answer.text

    async def sees(self, job: str, state: str) -> None:
        while state not in self.states(job):
            await self._read()

    async def sees_end_of(self, *ids: str) -> None:
        while not all(ENDS & set(self.states(job)) for job in ids):
            await self._read()

    async def hears(self, message: Any) -> None:
        while message not in self.messages:
            await self._read()

    def states(self, job: str) -> list[str]:
        """Return the states that it entered, without its place in line and how far it was."""
        states: list[str] = []
        for told in self.told.get(job, ()):
            if told["state"] != "waiting" and states[-1:] != [told["state"]]:
                states.append(told["state"])
        return states

    async def _read(self) -> None:
        message = await self.device.receive()
        if isinstance(message, dict) and "job" in message:
            self.told.setdefault(message["job"]["id"], []).append(message["job"])
        else:
            self.messages.append(message)


async def watch(node: WebNode, open_client: Open, user: str = "alice") -> Watcher:
    return Watcher(user, node, await open_client(f"127.0.0.1:{node.port}", f"/socket?user={user}"))


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
