"""The README's code, and what is seen when its first example runs."""

import asyncio
import re
import shlex
from pathlib import Path
from typing import Any

from tests.clients import Client, Open

README = (Path(__file__).parent.parent / "README.md").read_text()
PYTHON: list[str] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SCRIPTS: list[str] = re.findall(r"```js\n(.*?)```", README, re.DOTALL)


def named(name: str) -> str:
    return next(block for block in PYTHON if block.startswith(f"# {name}\n"))


def named_command(name: str) -> str:
    commands: list[str] = re.findall(r"^\$ (.*)", README, re.MULTILINE)
    return next(command for command in commands if command.startswith(f"{name} "))


async def queue_as(user: str, address: str) -> None:
    """Queue a job of the first example with the README's command, as *user* of the node at *address*."""
    words = shlex.split(named_command("curl").replace("localhost:8000", address).replace("alice", user))
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    answer, errors = await process.communicate()
    assert b'"task":"main.count_words"' in answer, (answer + errors).decode()


async def watch_the_first_example(address: str, open_client: Open) -> None:
    """Two devices of alice see the job that she queues start and end; bob sees nothing of it."""
    devices = [await open_client(address, "/socket?user=alice") for _ in range(2)]
    bob = await open_client(address, "/socket?user=bob")
    for user in ("alice", "bob"):
        await queue_as(user, address)
    for client in (*devices, bob):
        await _watch_one_job(client)


async def _watch_one_job(client: Client) -> None:
    told: list[dict[str, Any]] = []
    while not told or told[-1]["state"] != "succeeded":
        told.append((await client.receive())["job"])

    states = [job["state"] for job in told]
    assert ["queued", "started", "succeeded"] == list(dict.fromkeys(states)), states
    assert {told[0]["id"]} == {job["id"] for job in told}, told
    assert (6, 6) == (told[-1]["done"], told[-1]["total"]), told[-1]
