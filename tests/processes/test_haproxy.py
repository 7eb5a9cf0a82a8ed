"""deploy/haproxy.cfg, as it is shipped, in front of a node: what it lets through, and what ends at it."""

import re
import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import PATIENCE, Open
from tests.faults.redis_server import free_port
from tests.processes.proxy import CLIENT, ask, exchange, find, listening, open_socket
from tests.running import ROOT, WebNode, serve, web_node

SHIPPED = (ROOT / "deploy" / "haproxy.cfg").read_text()
FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "x_forwarded_for": "6.6.6.6",
    "Forwarded": "for=6.6.6.6;proto=https;host=evil.example",
    "X-Real-IP": "6.6.6.6",
    "X-REAL_IP": "6.6.6.6",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded": "for=6.6.6.6",
}


@pytest.fixture(scope="module")
def node(redis_server: EmbeddedRedis) -> Iterator[WebNode]:
    with web_node(app="tests.processes.behind:app") as node:
        yield node


def configured(folder: Path, *nodes: WebNode, **changes: str) -> tuple[list[str], int]:
    """Return the command for the shipped file, with addresses of this machine, and with *changes* to its times."""
    port = free_port()
    text = SHIPPED.replace("bind :8080", f"bind 127.0.0.1:{port}")
    for name, node in (("api1:8000", nodes[0]), ("api2:8000", nodes[-1])):
        text = text.replace(name, f"127.0.0.1:{node.port}")
    for name, time in changes.items():
        before = f"timeout {name.replace('_', '-')} "
        assert before in text
        text = "\n".join(f"    {before}{time}" if before in line else line for line in text.splitlines()) + "\n"
    (folder / "haproxy.cfg").write_text(text)
    return [find("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], port


@pytest.fixture(scope="module")
def port(node: WebNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    command, port = configured(tmp_path_factory.mktemp("haproxy"), node)
    with listening(command, port):
        yield port


@pytest.fixture
def impatient(node: WebNode, tmp_path: Path) -> Iterator[int]:
    """One in which a half-sent request and a quiet connection have a second."""
    command, port = configured(tmp_path, node, http_request="1s", client="1s", server="1s")
    with listening(command, port):
        yield port


def test_nodes_see_the_address_of_the_client(port: int) -> None:
    """
    A request and a WebSocket both show the address that they came from, and the scheme that was used.
    """
    answer = ask(port, "/seen").json()
    with open_socket(port) as client:
        told = exchange(client, 0)

    assert (CLIENT, "http") == (answer["client"], answer["scheme"])
    assert (f"of {CLIENT}", CLIENT, "ws") == (told["user"], told["client"], told["scheme"])


def test_what_a_client_says_of_itself_does_not_pass(port: int) -> None:
    """
    Headers that name another address, scheme or host are deleted, however they are spelt, and whatever they are sent
    with; a node gets those that the proxy has written.
    """
    answer = ask(port, "/seen", FORGED).json()
    with open_socket(port, FORGED) as client:
        told = exchange(client, 0)

    for seen, scheme in ((answer, "http"), (told, "ws")):
        forwarded = {name: value for name, value in seen["headers"].items() if "forwarded" in name or "real" in name}
        assert {"x-forwarded-for": CLIENT, "x-forwarded-proto": "http"} == forwarded
        assert (CLIENT, scheme) == (seen["client"], seen["scheme"])
    assert f"of {CLIENT}" == told["user"]


def test_a_header_that_is_sent_twice_does_not_pass(port: int) -> None:
    """
    Of two lines with the same header neither passes.
    """
    twice = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "7.7.7.7"), ("x-forwarded-for", "127.0.0.1")]

    assert CLIENT == ask(port, "/seen", twice).json()["client"]


def test_the_compose_file_trusts_its_proxy_alone() -> None:
    """
    The nodes of docker-compose.yml believe the one address that its proxy has, which no other service can get.
    """
    compose = (ROOT / "docker-compose.yml").read_text()
    addresses = re.findall(r"ipv4_address: ([\d.]+)", compose)
    others = re.findall(r"ip_range: ([\d./]+)", compose)

    assert 1 == len(addresses)
    assert addresses == re.findall(r"--forwarded-allow-ips (\S+)", compose)
    assert ip_address(addresses[0]) not in ip_network(others[0])


@pytest.mark.parametrize(
    "half",
    [
        "GET /seen HTTP/1.1\r\nHost: a\r\n",
        "GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
        "POST /bytes HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf",
        "POST /bytes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
    ids=["head", "handshake", "body", "chunked body"],
)
def test_a_request_that_is_half_sent_ends_at_the_proxy(impatient: int, node: WebNode, half: str) -> None:
    """
    A head or a body that does not come to its end is answered 408 by the proxy, and no node has seen it.
    """
    lines = len(node.log)
    with socket.create_connection(("127.0.0.1", impatient), timeout=PATIENCE) as client:
        client.sendall(half.encode())
        answer = b"".join(iter(lambda: client.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert 0 == ask(impatient, "/bytes", content=b"").json()
    node.wait_for("a body begins", since=lines)
    since = [line for line in node.log[lines:] if "/socket/ready" not in line]
    assert 1 == sum("a body begins" in line for line in since), since


def test_a_head_that_comes_byte_by_byte_ends_at_the_proxy(impatient: int) -> None:
    """
    A client that sends a little now and then gains no time.
    """
    with socket.create_connection(("127.0.0.1", impatient), timeout=PATIENCE) as client:
        client.sendall(b"GET /seen HTTP/1.1\r\n")
        client.settimeout(0.1)
        answer = b""
        while not answer:
            client.sendall(b"X")
            try:
                answer = client.recv(4096)
            except TimeoutError:
                continue

    assert answer.startswith(b"HTTP/1.1 408 "), answer


def test_a_quiet_websocket_stays_open(impatient: int) -> None:
    """
    An open WebSocket outlives the time that requests have.
    """
    with open_socket(impatient, ping_interval=None) as client:
        assert f"of {CLIENT}" == exchange(client, 2.5)["user"]


def test_a_large_upload_passes(port: int) -> None:
    """
    A body that is larger than what the proxy waits for arrives whole.
    """
    assert 5_000_000 == ask(port, "/bytes", content=b"x" * 5_000_000).json()


def test_a_large_upload_may_take_longer_than_its_head(impatient: int, node: WebNode) -> None:
    """
    Once it is passed on, an upload has the time of any connection: the limit is for its beginning.
    """
    head, body = b"POST /bytes HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n", b"x" * 100_000
    lines = len(node.log)
    with socket.create_connection(("127.0.0.1", impatient), timeout=PATIENCE) as client:
        client.sendall(head + body)
        node.wait_for("a body begins", since=lines)
        client.sendall(body)

        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")


async def test_a_node_that_stops_turns_nobody_away(
    redis_server: EmbeddedRedis, tmp_path: Path, open_client: Open
) -> None:
    """
    Between the signal and the next look at `/ready`, a handshake that a node refuses is taken by the other node.
    """
    app, seconds = "tests.processes.draining:app", ("--drain-seconds", "600")
    with serve(app, *seconds) as stopped, serve(app, *seconds) as other:
        command, port = configured(tmp_path, stopped, other)
        with listening(command, port):
            for n in range(100):
                await open_client(f"127.0.0.1:{stopped.port}", f"/socket?user={n}")
            stopped.process.terminate()
            stopped.wait_for("draining: ")
            since = len(stopped.log)

            for n in range(10):
                await open_client(f"127.0.0.1:{port}", f"/socket?user=late{n}")

            stopped.wait_for('"WebSocket /socket.*" 503', since=since)
