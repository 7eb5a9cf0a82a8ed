"""The example's HTTP side, on two nodes: the signed cookie, uploads, and a broker that does not answer."""

import json
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from tests.clients import PATIENCE
from tests.running import Env, WebNode, web_node, worker
from worker.sample import read_sample

MIB = 1024 * 1024
# The beginning of a form, by hand.
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\n'


def form(content: bytes) -> dict[str, tuple[str, bytes]]:
    return {"file": ("a.csv", content)}


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
    url = example.nodes[0].url
    with httpx2.Client(base_url=url, timeout=3 * PATIENCE, headers={"Origin": url}) as client:
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
    node = example.nodes[0]
    headers = {"Cookie": f"example_user={cookie}", "Origin": node.url}

    assert {"name": None} == httpx2.get(f"{node.url}/me", headers=headers).json()
    assert 401 == httpx2.post(f"{node.url}/socket/imports", headers=headers, files=form(b"a")).status_code
    assert 401 == httpx2.get(f"{node.url}/socket/jobs", headers=headers).status_code
    address = f"ws://127.0.0.1:{node.port}/socket"
    with pytest.raises(InvalidStatus) as refused:
        connect(address, origin=Origin(node.url), additional_headers={"Cookie": headers["Cookie"]}, legacy=True)
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

    answer = ada.post("/socket/imports", content=[HEAD, *[bytes(MIB)] * 17], headers=FORM)

    assert (413, {"detail": "More than 16793600 bytes"}) == (answer.status_code, answer.json())
    assert before == example.uploads


def test_refused_form(example: Example, ada: httpx2.Client) -> None:
    """
    Nothing is kept of a file whose form has what the job does not take.
    """
    before = example.uploads

    answer = ada.post("/socket/imports", data={"more": "x"}, files=form(b"a"))

    assert 422 == answer.status_code
    assert before == example.uploads


def test_only_uploads(example: Example, ada: httpx2.Client) -> None:
    """
    Who names a file on the server instead of sending one is refused.
    """
    named = {"upload": "../secret", "file": "a.csv"}

    in_json, in_a_form = ada.post("/socket/imports", json=named), ada.post("/socket/imports", data=named)

    assert (415, 422) == (in_json.status_code, in_a_form.status_code)


def test_client_gone(example: Example, ada: httpx2.Client) -> None:
    """
    What a client sent that went away in the middle is not kept.
    """
    before = example.uploads
    lines = [
        "POST /socket/imports HTTP/1.1",
        "Host: x",
        "Origin: http://x",
        f"Content-Type: {FORM['Content-Type']}",
        f"Cookie: example_user={ada.cookies['example_user']}",
        "Content-Length: 3000000",
        "Expect: 100-continue",
    ]
    node = example.nodes[0]
    since = len(node.log)
    with socket.create_connection(("127.0.0.1", node.port)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert b" 100 " in connection.recv(100)
        connection.sendall(HEAD + bytes(2 * MIB))

    node.wait_for("request aborted by its client", since=since)
    assert not [line for line in node.log[since:] if "Traceback" in line]
    assert before == example.uploads


def test_worker_stopped(example: Example, ada: httpx2.Client) -> None:
    """
    An import whose worker is stopped in the middle is run again, by the next worker, to its end. Each state is told
    once and in order.
    """
    at_once = {**example.env, "REMAP_SIGTERM": "SIGQUIT", "EXAMPLE_STOP_SECONDS": "0"}
    sample = "".join(read_sample()).encode()
    cookie = {"Cookie": f"example_user={ada.cookies['example_user']}"}
    address, origin = f"ws://127.0.0.1:{example.nodes[1].port}/socket", Origin(example.nodes[1].url)
    with connect(address, origin=origin, additional_headers=cookie, legacy=True) as device:
        with worker(at_once) as first:
            id = ada.post("/socket/imports", files=form(sample)).headers["X-Job-Id"]
            told = [*_told_until(device, id, lambda job: job["percent"])]
            first.process.terminate()
            first.process.wait()
        with worker(at_once):
            told += _told_until(device, id, lambda job: job["state"] == "succeeded")

    states = [state for state, _ in groupby(job["state"] for job in told) if state != "waiting"]
    assert ["queued", "started", "requeued", "started", "succeeded"] == states
    result = told[-1]["result"]
    assert sample.count(b"\n") - 1 == result["stored"] + result["rejected"]
    assert [] == example.uploads


def _told_until(device: ClientConnection, id: str, is_last: Callable[[Any], bool]) -> Iterator[Any]:
    """Return what is told of a job, up to what *is_last*."""
    while True:
        job = json.loads(device.recv(PATIENCE)).get("job")
        if job and job["id"] == id:
            yield job
            if is_last(job):
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
        answer = ada.post("/socket/imports", files=form(b"a"))
    finally:
        broker.process.send_signal(signal.SIGCONT)

    assert (503, {"detail": "The job queue does not answer. Try again in a moment."}) == (
        answer.status_code,
        answer.json(),
    )
    assert before == example.uploads
    assert {"name": "Ada"} == ada.get("/me").json()
