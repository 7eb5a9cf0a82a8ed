"""Other servers than uvicorn: they serve sockets, stop in good order, and what is lost under them is said at start."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from qrsocket.testing import client
from tests.clients import PATIENCE, Open
from tests.conftest import until
from tests.running import ROOT
from tests.tools.installed import need
from tests.tools.running import PYTHON, serving, worker
from tests.tools.tour import is_ours, use_sockets, watch_jobs
from tests.watching import watch

need("gunicorn", "uvicorn-worker", "hypercorn", "granian")

DOCS = (ROOT / "docs" / "tools.md").read_text()
APP, JOBS = "tests.tools.shop:app", "tests.tools.shop:jobs"
NODES = "qrsocket:app:{q0}:nodes"
GUNICORN = (PYTHON, "-m", "gunicorn", APP, "--bind", "127.0.0.1:{port}", "--worker-class")
HYPERCORN = (PYTHON, "-m", "hypercorn", APP, "--bind", "127.0.0.1:{port}")
GRANIAN = (PYTHON, "-m", "granian", APP, "--interface", "asgi", "--port", "{port}")
OF_UVICORN = "uvicorn's own WebSocket class serves: nothing is limited before a WebSocket is accepted. "
NO_TRANSPORT = "this server lends no transport: all works, but "


@dataclass(frozen=True)
class Server:
    """
    Attributes:
        lost: What is said at start; empty for nothing.
        is_ours: Our class serves once a connection is accepted.
        nodes: Processes that serve.
        codes: Clients are closed with one of these when the server is told to stop.
    """

    command: Sequence[str]
    lost: str = NO_TRANSPORT
    is_ours: bool = False
    nodes: int = 1
    codes: frozenset[int] = frozenset({1012})


SERVERS = {
    "gunicorn": Server(
        (*GUNICORN, "uvicorn_worker.UvicornWorker", "--workers", "2", "--preload"), OF_UVICORN, is_ours=True, nodes=2
    ),
    "gunicorn with our classes": Server((*GUNICORN, "gunicorn_worker.Worker"), "", is_ours=True),
    "gunicorn's own worker": Server((*GUNICORN, "asgi")),
    # A process that hypercorn has started is not sent a signal: it waits for three seconds, and then cuts us off.
    "hypercorn": Server(HYPERCORN, codes=frozenset({1011})),
    "hypercorn in one process": Server((*HYPERCORN, "--workers", "0")),
    # It hears of the signal when we do, and may be the first to act.
    "granian": Server(GRANIAN, codes=frozenset({1012, 1006})),
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    return SERVERS[request.param]


@pytest.fixture
def path(tmp_path: Path, env: dict[str, str]) -> None:
    """Let the processes import the code of docs/tools.md."""
    block, name = re.findall(r"```python\n(# (gunicorn_worker.py)\n.*?)```", DOCS, re.DOTALL)[0]
    (tmp_path / name).write_text(block)
    env["PYTHONPATH"] = str(tmp_path)


@pytest.mark.usefixtures("path")
async def test_a_server(server: Server, env: dict[str, str], redis: Redis, open_client: Open) -> None:
    """
    Sockets, recovery, hooks and jobs work, and each process says in one line what is lost.
    """
    with serving(server.command, env) as node, worker(JOBS, env):
        await until(lambda: redis.zcard(NODES) == server.nodes)
        alice = await watch(node, open_client)
        await use_sockets(node, redis)
        await watch_jobs(alice)

        said = [line for line in node.log if "`qrsocket serve`" in line]
        assert server.nodes * bool(server.lost) == len(said), said
        assert all(server.lost in line for line in said), said
        assert not server.is_ours or is_ours(alice)


@pytest.mark.usefixtures("path")
async def test_a_server_that_stops(server: Server, env: dict[str, str], redis: Redis, open_client: Open) -> None:
    """
    Told to stop, it closes its clients with a code at which they come back, ends, and leaves nothing in Redis.
    """
    with serving(server.command, env) as node:
        alice = await open_client(f"127.0.0.1:{node.port}", "/socket?user=alice")
        async with client(node.url, query={"user": "bob"}, timeout=PATIENCE) as bob:
            node.process.terminate()

            assert {await alice.closed(), await bob.closed()} <= server.codes
        await until(lambda: node.process.poll() is not None)
        assert (0, 0) == (node.process.returncode, redis.zcard(NODES))
