"""A device that watches the jobs of its user, on a node in another process."""

from dataclasses import dataclass, field
from typing import Any

import httpx2

from qrsocket.testing.processes import WebNode
from tests.clients import PATIENCE, Client, Open

ENDS = {"succeeded", "failed", "timeout", "cancelled", "lost"}
DONE = ["queued", "started", "succeeded"]


@dataclass
class Watcher:
    """
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
            await self.listen()

    async def sees_end_of(self, *ids: str) -> None:
        while not all(ENDS & set(self.states(job)) for job in ids):
            await self.listen()

    async def hears(self, message: Any) -> None:
        while message not in self.messages:
            await self.listen()

    def states(self, job: str) -> list[str]:
        """Return the states that it entered, without its place in line and how far it was."""
        states: list[str] = []
        for told in self.told.get(job, ()):
            if told["state"] != "waiting" and states[-1:] != [told["state"]]:
                states.append(told["state"])
        return states

    async def listen(self) -> None:
        """Wait for what comes next, and keep it."""
        message = await self.device.receive()
        if isinstance(message, dict) and "job" in message:
            self.told.setdefault(message["job"]["id"], []).append(message["job"])
        else:
            self.messages.append(message)


async def watch(node: WebNode, open_client: Open, user: str = "alice") -> Watcher:
    return Watcher(user, node, await open_client(f"127.0.0.1:{node.port}", f"/socket?user={user}"))
