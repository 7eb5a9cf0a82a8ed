"""docs/deployment.md, followed: nginx with the configuration that is printed there, a node, and Chromium."""

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from websockets.exceptions import InvalidStatus

from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import PATIENCE
from tests.faults.redis_server import free_port
from tests.processes.proxy import CLIENT, ask, exchange, find, listening, open_socket
from tests.running import ROOT, WebNode, serve, web_node

PAGE = (ROOT / "docs" / "deployment.md").read_text()
PRINTED = re.findall(r"^```nginx\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[0]
FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "x_forwarded_for": "6.6.6.6",
    "Forwarded": "for=6.6.6.6",
    "X-Real-IP": "6.6.6.6",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
}
POLICY = "default-src 'none'; " + re.findall(r"`(script-src [^`]+)`", PAGE)[0]
# What is not printed: where its files go, a sub-path that is stripped, an empty page, and what goes wrong without Host.
AROUND = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    {temporary}
    {printed}
}}
"""
MORE = """
    location /api/ {
        proxy_pass http://nodes/;
        LINES
    }
    location = /page {
        default_type text/html;
        add_header Content-Security-Policy "POLICY";
        return 200 "<!doctype html>";
    }
    location /without/ {
        proxy_pass http://nodes/;
        WITHOUT
    }
"""
TALK = """
    async ([script, url]) => {
        const { connect } = await import(script);
        const socket = connect(url, { storage: null });
        const state = await new Promise(resolve => socket.on("state", resolve));
        const answer = new Promise(resolve => socket.on("message", resolve));
        socket.send(0);
        const client = state === "ready" ? (await answer).client : null;
        socket.close();
        return [state, client];
    }
"""


def configuration(folder: Path, port: int, nodes: Sequence[WebNode], **seconds: str) -> str:
    """Return the file that is printed, with addresses of this machine, and *seconds* in place of its own."""
    printed = PRINTED.replace("listen 80;", f"listen 127.0.0.1:{port};")
    for number, node in ((8000, nodes[0]), (8001, nodes[-1])):
        printed = printed.replace(f"server 127.0.0.1:{number};", f"server 127.0.0.1:{node.port};")
    for name, time in seconds.items():
        printed, count = re.subn(rf"{name} \S+;", f"{name} {time};", printed)
        assert count
    lines = [line.strip() for line in printed.splitlines() if "proxy_" in line and "proxy_pass" not in line]
    without = [line for line in lines if "Host $http_host" not in line]
    more = MORE.replace("LINES", " ".join(lines)).replace("WITHOUT", " ".join(without)).replace("POLICY", POLICY)
    printed = printed.replace("    location / {", f"{more}    location / {{")
    paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{name}_temp_path {folder}/{name};" for name in paths)
    return AROUND.format(folder=folder, temporary=temporary, printed=printed)


@pytest.fixture(scope="module")
def node(redis_server: EmbeddedRedis) -> Iterator[WebNode]:
    with web_node(app="tests.processes.behind:app") as node:
        yield node


@contextmanager
def nginx(folder: Path, *nodes: WebNode, **seconds: str) -> Iterator[int]:
    port = free_port()
    (folder / "nginx.conf").write_text(configuration(folder, port, nodes, **seconds))
    with listening([find("nginx"), "-c", str(folder / "nginx.conf")], port):
        yield port


@pytest.fixture(scope="module")
def port(node: WebNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with nginx(tmp_path_factory.mktemp("nginx"), node) as port:
        yield port


@pytest.fixture
def page(browser: Browser, port: int) -> Iterator[Page]:
    """An empty page of the proxy, with the policy that the docs print."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/page")
        yield page


def talk(page: Page, script: str, url: str) -> Any:
    return page.evaluate(TALK, [script, url])


def test_a_page_talks_through_it(page: Page) -> None:
    """
    A page of the proxy's own host and port is let in, under the strict policy that is printed.
    """
    assert ["ready", "127.0.0.1"] == talk(page, "/socket/client.js", "/socket")


def test_a_sub_path_may_be_stripped(page: Page) -> None:
    """
    Below a path that the proxy takes away, the page names that path and the node needs no word of it.
    """
    assert ["ready", "127.0.0.1"] == talk(page, "/api/socket/client.js", "/api/socket")


def test_without_the_host_a_page_is_refused(page: Page, node: WebNode) -> None:
    """
    Where nginx puts its target in place of the Host, a page is refused, and the node's log says that it was.
    """
    lines = len(node.log)

    assert ["offline", None] == talk(page, "/socket/client.js", "/without/socket")
    node.wait_for("(?i)origin.*refused|refused.*origin", since=lines)


def test_what_a_client_says_of_itself_does_not_pass(port: int) -> None:
    """
    A node sees the address that a request and a WebSocket came from, whatever their headers say.
    """
    answer = ask(port, "/seen", FORGED).json()
    with open_socket(port, FORGED) as client:
        told = exchange(client, 0)

    assert [(CLIENT, "http"), (CLIENT, "ws")] == [(seen["client"], seen["scheme"]) for seen in (answer, told)]
    assert f"of {CLIENT}" == told["user"]
    assert not [value for value in answer["headers"].values() if "6.6.6.6" in value or "evil" in value]


def test_a_page_of_another_origin_is_refused(port: int) -> None:
    """
    The proxy does not make the check of origins void.
    """
    with pytest.raises(InvalidStatus) as refused, open_socket(port, origin="http://evil.example"):
        pass

    assert 403 == refused.value.response.status_code


@pytest.mark.parametrize(
    "half",
    ["GET /seen HTTP/1.1\r\n", "POST /bytes HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"],
    ids=["head", "body"],
)
def test_a_request_that_is_half_sent_ends_at_it(node: WebNode, tmp_path: Path, half: str) -> None:
    """
    A head or a body that does not come to its end is ended by the proxy, and no node has seen it.
    """
    lines = len(node.log)
    with nginx(tmp_path, node, client_header_timeout="1s", client_body_timeout="1s") as port:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            client.sendall(half.encode())
            while client.recv(4096):
                pass
        assert 0 == ask(port, "/bytes", content=b"").json()
        node.wait_for("a body begins", since=lines)

    assert 1 == sum("a body begins" in line for line in node.log[lines:])


def test_a_node_that_stops_turns_nobody_away(redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    """
    A handshake that a node refuses since it stops is taken by the other node.
    """
    app, seconds = "tests.processes.draining:app", ("--drain-seconds", "600")
    with ExitStack() as stack:
        stopped, other = (stack.enter_context(serve(app, *seconds)) for _ in range(2))
        port = stack.enter_context(nginx(tmp_path, stopped, other))
        for n in range(100):
            stack.enter_context(open_socket(stopped.port, path=f"/socket?user={n}"))
        stopped.process.terminate()
        stopped.wait_for("draining: ")
        since = len(stopped.log)

        for n in range(10):
            stack.enter_context(open_socket(port, path=f"/socket?user=late{n}"))

        stopped.wait_for('"WebSocket /socket.*" 503', since=since)
        stopped.kill()  # they need not be closed in order
