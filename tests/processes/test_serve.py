"""`qrsocket serve` as an operator runs it."""

import json
import socket as sockets
import ssl
import subprocess
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from redis import Redis
from websockets.asyncio.client import connect, unix_connect

from qrsocket import socket
from qrsocket.embedded_redis import EmbeddedRedis
from tests.app.certificate import make_certificate
from tests.clients import PATIENCE, Client, Open
from tests.conftest import until
from tests.running import QRSOCKET, ROOT, START_TIMEOUT, Running, serve

APP = "tests.processes.cluster:app"
NODES = "qrsocket:app:{q0}:nodes"


async def test_it_serves(redis_server: EmbeddedRedis, redis: Redis, open_client: Open) -> None:
    """
    Its log says that the node has joined, and shows requests without the queries of sockets; SIGTERM closes the sockets
    with 1012 and gives up the lease.
    """
    with serve(APP) as node:
        client = await open_client(f"127.0.0.1:{node.port}", "/socket?user=alice")
        delivery = await socket.to("alice").send("hi")
        node.process.terminate()

        assert 1 == delivery.connections
        assert "hi" == await client.receive_text()
        assert 1012 == await client.closed()
        await until(lambda: node.process.poll() is not None)
        assert 0 == redis.zcard(NODES)
        assert [line for line in node.log if "node joined" in line]
        assert ["[accepted]"] == [line.split()[-1] for line in node.log if '"WebSocket /socket?…"' in line]
        assert [] == [line for line in node.log if "alice" in line]


async def test_workers(redis_server: EmbeddedRedis, redis: Redis, open_client: Open) -> None:
    """
    With --workers each process is a node. SIGTERM of the first process ends all, at once where there is no other node,
    and leaves nothing in Redis.
    """
    with serve(APP, "--workers", "2", "--drain-seconds", "600") as node:
        await until(lambda: redis.zcard(NODES) == 2)
        clients = [await open_client(f"127.0.0.1:{node.port}", f"/socket?user={n}") for n in range(100)]
        delivery = await socket.to(range(100)).send("hi")
        processes = psutil.Process(node.pid).children(recursive=True)

        node.process.terminate()

        assert 100 == delivery.connections
        assert ["hi"] * 100 == [await client.receive_text() for client in clients]
        assert [1012] * 100 == [await client.closed() for client in clients]
        await until(lambda: node.process.poll() is not None)
        assert 0 == node.process.returncode
        await until(lambda: not [process for process in processes if process.is_running()])
        assert 0 == redis.zcard(NODES)


async def test_a_second_signal_ends_workers_at_once(
    redis_server: EmbeddedRedis, redis: Redis, open_client: Open
) -> None:
    """
    Workers that let their clients go are killed by a second signal to the first process.
    """
    with serve(APP), serve(APP, "--workers", "2", "--drain-seconds", "600") as node:
        await until(lambda: redis.zcard(NODES) == 3)
        clients = [await open_client(f"127.0.0.1:{node.port}", f"/socket?user={n}") for n in range(100)]
        processes = psutil.Process(node.pid).children(recursive=True)
        node.process.terminate()
        node.wait_for("draining: ")

        node.process.terminate()

        codes = [await client.closed() for client in clients]
        assert codes.count(1006) > 50, codes  # the others were let go before
        await until(lambda: node.process.poll() is not None)
        await until(lambda: not [process for process in processes if process.is_running()])


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([QRSOCKET, "serve", *words], cwd=ROOT, capture_output=True, text=True, timeout=START_TIMEOUT)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.main:app"], "there is no module 'nowhere' here: run the command in the folder that holds it"),
        (["tests.processes.behind:ap"], "has no attribute 'ap': app may be meant"),
        (["main"], "MODULE:APP is a module and a name in it, such as api.main:app, not 'main'"),
        (["a:b", "--uds", "/nowhere/a.sock"], "cannot listen on /nowhere/a.sock: there is no folder /nowhere"),
        (["a:b", "--ssl-keyfile", "LICENSE"], "name that with --ssl-certfile"),
        (["a:b", "--ssl-certfile", "LICENSE"], "cannot use the certificate LICENSE with the key LICENSE"),
    ],
    ids=["no module", "no attribute", "no name", "no folder", "no certificate", "bad certificate"],
)
def test_what_is_wrong_is_said_in_one_line(redis_server: EmbeddedRedis, words: list[str], told: str) -> None:
    """
    What cannot be served ends it with exit code 1, and one line that says what to do.
    """
    ended = run(*words, "--port", "0")

    assert 1 == ended.returncode
    assert told in ended.stderr
    assert 1 == ended.stderr.count("\n"), ended.stderr


def test_a_port_in_use() -> None:
    """
    A port that is taken is named before the application is imported.
    """
    with sockets.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("nowhere:app", "--port", str(port))

    assert 1 == ended.returncode
    assert f"qrsocket: cannot listen on 127.0.0.1, port {port} (Address already in use)" in ended.stderr


def test_workers_that_cannot_start() -> None:
    """
    Workers whose application cannot be imported end it with exit code 1, and say why.
    """
    ended = run("nowhere:app", "--port", "0", "--workers", "2")

    assert 1 == ended.returncode
    assert "cannot import nowhere:app: there is no module 'nowhere' here" in ended.stderr
    assert ended.stderr.endswith("qrsocket: the workers have not started; the lines above say why\n")


async def test_a_unix_socket(redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    """
    It serves on a Unix socket, behind a proxy of the same machine say.
    """
    path = str(tmp_path / "a.sock")
    node = Running("serve", [QRSOCKET, "serve", APP, "--uds", path], {})
    try:
        node.wait_for("running on unix socket")
        async with unix_connect(path, "ws://localhost/socket?user=alice") as connection:
            await socket.to("alice").send("hi")
            assert "hi" == await Client(connection).receive_text()
    finally:
        node.stop()


async def test_https(redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    """
    With a certificate it serves https and wss.
    """
    key, certificate = make_certificate(tmp_path)
    options = ["--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)]
    node = Running("serve", [QRSOCKET, "serve", APP, "--port", "0", *options], {})
    try:
        port = int(node.wait_for(r"running on https://127\.0\.0\.1:(\d+)")[1])
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with connect(f"wss://127.0.0.1:{port}/socket?user=alice", ssl=trusting) as connection:
            await socket.to("alice").send("hi")
            assert "hi" == await Client(connection).receive_text()
    finally:
        node.stop()


FACTORY = """
from fastapi import FastAPI, Request

def make() -> FastAPI:
    app = FastAPI()

    @app.get("/seen")
    def seen(request: Request) -> list[str]:
        return [request.client.host, request.scope["root_path"]]

    return app
"""


def test_a_factory_elsewhere(tmp_path: Path) -> None:
    """
    --factory calls what MODULE:APP names, --app-dir says where the module is; a proxy is believed, with its path.
    """
    (tmp_path / "shop.py").write_text(FACTORY)
    options = ["--factory", "--app-dir", str(tmp_path), "--root-path", "/api"]
    with serve("shop:make", *options, ready="/seen") as node, urlopen(f"{node.url}/seen", timeout=PATIENCE) as answer:
        seen = json.load(answer)

    assert ["127.0.0.1", "/api"] == seen


def test_a_head_with_too_many_lines(redis_server: EmbeddedRedis) -> None:
    """
    Our class for HTTP serves as well, and answers it with 431.
    """
    with serve(APP) as node, sockets.create_connection(("127.0.0.1", node.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200)
        answer = connection.recv(1_000)

    assert answer.startswith(b"HTTP/1.1 431 "), answer
