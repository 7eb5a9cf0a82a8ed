"""`docker compose up`, for real, where a Docker engine answers."""

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests import engine
from tests.clients import PATIENCE
from tests.running import ROOT

ADDRESS = "localhost:8080"
CSV = "code_point,name,category,direction\n0041,LATIN CAPITAL LETTER A,Lu,L\n0000,,Cc,BN\n"


def compose(*words: str) -> str:
    command = ("docker", "compose", "--project-name", "qrsocket-test", *words)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert 0 == done.returncode, f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


pytestmark = [
    pytest.mark.skipif(not engine.answers(), reason=engine.REASON),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def up() -> Iterator[None]:
    compose("up", "--build", "--wait", "--wait-timeout", "180")
    yield
    compose("down", "--volumes", "--timeout", "2")


def signed_in(name: str) -> dict[str, str]:
    answer = httpx.post(f"http://{ADDRESS}/sign-in", json={"name": name}, timeout=PATIENCE)
    assert 204 == answer.status_code, answer.text
    return {"Cookie": answer.headers["Set-Cookie"].split(";")[0]}


def open_socket(cookie: dict[str, str]) -> ClientConnection:
    return connect(f"ws://{ADDRESS}/socket", origin=f"http://{ADDRESS}", additional_headers=cookie)


def receive_until(client: ClientConnection, is_wanted: Any) -> list[Any]:
    received = []
    while True:
        received.append(json.loads(client.recv(timeout=PATIENCE)))
        if is_wanted(received[-1]):
            return received


def is_success(message: Any) -> bool:
    return isinstance(message, dict) and message.get("job", {}).get("state") == "succeeded"


def import_sample(cookie: dict[str, str]) -> None:
    headers = {**cookie, "Origin": f"http://{ADDRESS}"}
    files = {"file": ("a.csv", CSV, "text/csv")}
    answer = httpx.post(f"http://{ADDRESS}/socket/imports", files=files, headers=headers, timeout=PATIENCE)
    assert 202 == answer.status_code, answer.text


def test_everything_is_healthy(up: None) -> None:
    """
    `docker compose up --wait` starts every service, and each says that it is healthy.
    """
    services = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]

    expected = dict.fromkeys(("api1", "api2", "beat", "proxy", "redis", "worker"), "healthy")
    assert expected == {service["Service"]: service["Health"] for service in services}


def test_an_import_reaches_both_devices(up: None) -> None:
    """
    Two devices, each on another node behind one address, see the import succeed.
    """
    cookie = signed_in("Ada")
    with open_socket(cookie) as first, open_socket(cookie) as second:
        import_sample(cookie)

        seen = [receive_until(device, is_success) for device in (first, second)]

        assert [1, 1] == [sum(is_success(message) for message in messages) for messages in seen]
        ready = [compose("exec", "-T", node, "python", "-c", READY) for node in ("api1", "api2")]
        assert [1, 1] == [json.loads(answer)["connections"] for answer in ready]


READY = "import urllib.request as u; print(u.urlopen('http://localhost:8000/socket/ready').read().decode())"


def test_a_killed_node_is_replaced(up: None) -> None:
    """
    With one node killed the address still serves sockets, pages and jobs.
    """
    compose("kill", "api1")
    cookie = signed_in("Grace")
    with open_socket(cookie) as device:
        import_sample(cookie)
        receive_until(device, is_success)
    compose("up", "--wait", "--wait-timeout", "60")


def test_it_stops_in_time(up: None) -> None:
    """
    Everything ends by itself within 10 s of being asked to, with sockets open.
    """
    with open_socket(signed_in("Ada")):
        began = time.monotonic()
        compose("stop", "--timeout", "20")
        took = time.monotonic() - began

    states = [json.loads(line) for line in compose("ps", "--all", "--format", "json").splitlines()]
    killed = {service["Service"] for service in states if service["ExitCode"] == 137}
    assert set() == killed
    assert took < 10
