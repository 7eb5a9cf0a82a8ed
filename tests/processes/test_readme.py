"""The code of the README, run as it stands."""

import asyncio
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import Open
from tests.running import ROOT, WebNode, web_node, worker

README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def named(name: str) -> str:
    return next(block for block in PYTHON if block.startswith(f"# {name}\n"))


def named_command(name: str) -> str:
    return next(line for line in re.findall(r"^\$ (.*)", README, re.MULTILINE) if line.startswith(f"{name} "))


@pytest.fixture
def first_example(tmp_path: Path, redis_server: EmbeddedRedis) -> Iterator[WebNode]:
    (tmp_path / "main.py").write_text(named("main.py"))
    env = {"PYTHONPATH": str(tmp_path), "CELERY_BROKER_URL": redis_server.url}
    with worker(env, app="main:tasks"), web_node(env=env, app="main:app") as node:
        yield node


async def test_the_first_example(first_example: WebNode, open_client: Open) -> None:
    """
    Two devices of alice see the job that she queues start and end; bob sees nothing of it.
    """
    address = f"127.0.0.1:{first_example.port}"
    devices = [await open_client(address, "/socket?user=alice") for _ in range(2)]
    bob = await open_client(address, "/socket?user=bob")

    for user in ("alice", "bob"):
        words = shlex.split(named_command("curl").replace("localhost:8000", address).replace("alice", user))
        process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        answer, _ = await process.communicate()
        assert b'"task":"main.count_words"' in answer
    for client in (*devices, bob):
        told = []
        while not told or told[-1]["state"] != "succeeded":
            told.append((await client.receive())["job"])
        states = [job["state"] for job in told]
        assert ["queued", "started", "succeeded"] == list(dict.fromkeys(states))
        assert {told[0]["id"]} == {job["id"] for job in told}
        assert (6, 6) == (told[-1]["done"], told[-1]["total"])


def test_the_first_example_is_short() -> None:
    """
    It is 12 lines of Python and 2 of JavaScript.
    """
    code = [line for line in named("main.py").splitlines()[1:] if line]
    script = re.findall(r"```js\n(.*?)```", README, re.DOTALL)[0].splitlines()

    assert (12, 2) == (len(code), len(script))


async def test_the_second_example(tmp_path: Path, redis_server: EmbeddedRedis, open_client: Open) -> None:
    """
    A first message with a token signs in; a wrong one is told so and closed.
    """
    code = next(block for block in PYTHON if "@router.authenticate" in block)
    (tmp_path / "second.py").write_text(
        f"{code}\nfrom fastapi import FastAPI\napp = FastAPI()\napp.include_router(router)\n"
    )
    with web_node(env={"PYTHONPATH": str(tmp_path)}, app="second:app") as node:
        address = f"127.0.0.1:{node.port}"
        alice, stranger = await open_client(address), await open_client(address)
        await alice.send("s3cret")
        await alice.send({"to": "alice", "text": "hi"})
        await stranger.send("guess")

        assert {"from": "alice", "text": "hi"} == await alice.receive()
        assert {"error": "Unknown token"} == await stranger.receive()
        assert 4100 == await stranger.closed()


async def test_the_verbs(redis_server: EmbeddedRedis) -> None:
    """
    Each line of the table of verbs runs.
    """
    code = next(block for block in PYTHON if "socket.online(user_ids)" in block)
    body = "".join(f"    {line}\n" for line in code.splitlines())
    program = (
        "import asyncio\nfrom qrsocket.context import Context, running_for\n"
        "async def main(message, user_id, user_ids):\n"
        f"{body}    print('ran')\n"
        "with running_for(Context(user='alice', connection='c1')):\n"
        "    asyncio.run(main({'a': 1}, 'alice', ['alice', 7]))\n"
    )

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()

    assert b"ran\n" == output


def test_the_commands_exist() -> None:
    """
    The commands that the README names are there.
    """
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    command = Path(sys.executable).with_name("qrsocket")
    told = subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout

    assert set(re.findall(r"\$ make (\w+)", README)) <= made
    named = set(re.findall(r"(?:`|\$ )qrsocket ([a-z]+)", README))
    assert {"dev", "doctor", "serve", "settings"} == named
    assert all(name in told for name in named)
