"""The example's HTTP side, on two nodes: the signed cookie, uploads, and a broker that does not answer."""

import json
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from tests.clients import PATIENCE
from tests.conftest import until
from tests.running import Env, WebNode, web_node, worker
from worker.sample import read_sample

MIB = 1024 * 1024


@dataclass(frozen=True)
class Example:
    nodes: tuple[WebNode, WebNode]
    data: Path
    env: Env

    @property
    def uploads(self) -> list[str]:
        return [path.name for path in (self.data / "uploads").iterdir()]


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedRedis]:
    with embedded_redis() as server:
        yield server


@pytest.fixture(scope="module")
def example(broker: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    data = tmp_path_factory.mktemp("example")
    with embedded_redis() as server:
        env = {"QRSOCKET_REDIS_URL": server.url, "CELERY_BROKER_URL": broker.url, "EXAMPLE_DATA": str(data)}
        with web_node(env=env) as here, web_node(env=env) as there:
            yield Example((here, there), data, env)


@pytest.fixture
def ada(example: Example) -> Iterator[httpx2.Client]:
    """A client that is signed in."""
    with httpx2.Client(base_url=example.nodes[0].url, timeout=30) as client:
        client.post("/sign-in", json={"name": " Ada "}).raise_for_status()
        yield client


def test_cookie_on_all_nodes(example: Example, ada: httpx2.Client) -> None:
    """
    A node takes the cookie that another has signed; the secret that they share is for their eyes only.
    """
    answer = ada.get(f"{example.nodes[1].url}/me")

    assert {"name": "Ada"} == answer.json()
    assert 0o600 == (example.data / "secret").stat().st_mode & 0o777


def test_cookie_for_http_only(example: Example) -> None:
    """
    Scripts cannot read the cookie, and other sites cannot send it with what changes something.
    """
    answer = httpx2.post(f"{example.nodes[0].url}/sign-in", json={"name": "Ada"})

    assert {"HttpOnly", "SameSite=lax"} <= set(answer.headers["set-cookie"].split("; "))


@pytest.mark.parametrize(
    "cookie", ["", "Ada", "IkFkYSI.aaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaa"], ids=["none", "bare", "forged"]
)
def test_not_signed_in(example: Example, cookie: str) -> None:
    """
    Without a cookie of ours there is no name, no import and no socket.
    """
    node, headers = example.nodes[0], {"Cookie": f"example_user={cookie}"}

    assert {"name": None} == httpx2.get(f"{node.url}/me", headers=headers).json()
    assert 401 == httpx2.post(f"{node.url}/imports?file=a.csv", headers=headers, content=b"a").status_code
    address = f"ws://127.0.0.1:{node.port}/socket"
    with pytest.raises(InvalidStatus) as refused:
        connect(address, origin=Origin(node.url), additional_headers=headers, legacy=True)
    assert 401 == refused.value.response.status_code


@pytest.mark.parametrize("name", ["", " ", "-", "a" * 33, "a\nb", "<b>"])
def test_bad_name(example: Example, name: str) -> None:
    """
    A name is short and of letters, digits, spaces and a few signs.
    """
    assert 422 == httpx2.post(f"{example.nodes[0].url}/sign-in", json={"name": name}).status_code


def test_too_large(example: Example, ada: httpx2.Client) -> None:
    """
    An upload is refused at the limit, also when it did not say its size, and nothing of it is kept.
    """
    before = example.uploads

    answer = ada.post("/imports?file=large.csv", content=(bytes(MIB) for _ in range(17)))

    assert (413, {"detail": "The file is larger than 16 MiB."}) == (answer.status_code, answer.json())
    assert before == example.uploads


async def test_client_gone(example: Example, ada: httpx2.Client) -> None:
    """
    What a client sent that went away in the middle is not kept.
    """
    head = f"POST /imports?file=a.csv HTTP/1.1\r\nHost: x\r\nCookie: example_user={ada.cookies['example_user']}\r\n"
    before = example.uploads
    with socket.create_connection(("127.0.0.1", example.nodes[0].port)) as connection:
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\na".encode())
        await until(lambda: len(example.uploads) > len(before))

    await until(lambda: before == example.uploads)


def test_worker_stopped(example: Example, ada: httpx2.Client) -> None:
    """
    An import whose worker is stopped in the middle is run again, by the next worker, to its end. What it has told once
    is not told again.
    """
    at_once = {**example.env, "REMAP_SIGTERM": "SIGQUIT", "EXAMPLE_STOP_SECONDS": "0"}
    sample = "".join(read_sample()).encode()
    cookie = {"Cookie": f"example_user={ada.cookies['example_user']}"}
    address, origin = f"ws://127.0.0.1:{example.nodes[1].port}/socket", Origin(example.nodes[1].url)
    with connect(address, origin=origin, additional_headers=cookie, legacy=True) as device:
        with worker(at_once) as first:
            ada.post("/imports?file=a.csv", content=sample * 2).raise_for_status()
            told = [*_received_until(device, lambda report: report["percent"] > 0)]
            first.process.terminate()
            first.process.wait()
        with worker(at_once):
            told += _received_until(device, lambda report: report["state"] == "done")

    rows = 2 * sample.count(b"\n") - 1
    assert 1 == [report["percent"] for report in told].count(0)
    assert rows == told[-1]["stored"] + told[-1]["rejected"]
    assert [] == example.uploads


def _received_until(device: ClientConnection, is_last: Callable[[Any], bool]) -> Iterator[Any]:
    """Return what an import tells, up to the report that *is_last*."""
    while True:
        report = json.loads(device.recv(PATIENCE)).get("import")
        if report:
            yield report
            if is_last(report):
                return


# The last one, since it ends the broker.
@pytest.mark.parametrize("state", ["frozen", "dead"])
def test_no_broker(example: Example, broker: EmbeddedRedis, ada: httpx2.Client, state: str) -> None:
    """
    When the job cannot be queued, the user is told so in time, nothing of the file is kept, and the node goes on.
    """
    before = example.uploads
    if state == "frozen":
        broker.process.send_signal(signal.SIGSTOP)
    else:
        broker.process.kill()
        broker.process.wait()
    try:
        answer = ada.post("/imports?file=a.csv", content=b"a")
    finally:
        broker.process.send_signal(signal.SIGCONT)

    assert (503, {"detail": "The job queue does not answer. Try again in a moment."}) == (
        answer.status_code,
        answer.json(),
    )
    assert before == example.uploads
    assert {"name": "Ada"} == ada.get("/me").json()
