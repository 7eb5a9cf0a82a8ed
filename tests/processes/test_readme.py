"""The code of the README, run as it stands."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import Open
from tests.readme import PYTHON, README, SCRIPTS, named, watch_the_first_example
from tests.running import ROOT, WebNode, web_node, worker


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
    await watch_the_first_example(f"127.0.0.1:{first_example.port}", open_client)


def test_the_first_example_is_short() -> None:
    """
    It is 12 lines of Python and 2 of JavaScript.
    """
    code = [line for line in named("main.py").splitlines()[1:] if line]

    assert (12, 2) == (len(code), len(SCRIPTS[0].splitlines()))


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
