"""Strangers who fill the places of a node, its descriptors, and its log."""

import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.quiet import MOST_LINES
from tests.attacks.attacks import FRAMES, Attack
from tests.attacks.conftest import ENVIRONMENT, HEAD_TIMEOUT
from tests.attacks.node import Node, attacked
from tests.attacks.raw import Raw, frame, head
from tests.attacks.witness import Witness
from tests.clients import PATIENCE


@pytest.fixture(scope="module")
def node(server: EmbeddedRedis) -> Iterator[Node]:
    environment = {"QRSOCKET_REDIS_URL": server.url, "QRSOCKET_MAX_CONNECTIONS_PER_ADDRESS": "40"}
    trusting = ("--forwarded-allow-ips", "127.0.0.1")
    with attacked(*trusting, env=ENVIRONMENT | environment) as node:
        yield node


def refusal(address: str, *lines: str, path: str = "/socket") -> str:
    with Raw(address) as raw:
        raw.send(head(path, *lines))
        return raw.answer()


def test_strangers_fill_their_places_alone(node: Node, bob: Witness) -> None:
    """
    Who says nothing takes one of few places, until the deadline; whoever is known has the others.
    """
    with ExitStack() as stack:
        silent = [stack.enter_context(Raw(node.address)).open("/strangers") for _ in range(3)]

        assert "503" == refusal(node.address, path="/strangers")
        stack.enter_context(Raw(node.address)).open("/socket?user=alice")
        assert ["4100"] * 3 == [one.answer() for one in silent]
        with Raw(node.address) as known:
            known.open("/strangers")
            known.send(frame(b'"alice"'))
            stack.enter_context(Raw(node.address)).open("/strangers")
            stack.enter_context(Raw(node.address)).open("/strangers")
            stack.enter_context(Raw(node.address)).open("/strangers")


def test_one_address_has_so_many(node: Node, bob: Witness) -> None:
    """
    One address gets so many connections, and then 429; another one, which a trusted proxy names, is served.
    """
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(Raw(node.address)).open("/socket", "X-Forwarded-For: 203.0.113.7")

        assert "429" == refusal(node.address, "X-Forwarded-For: 203.0.113.7")
        stack.enter_context(Raw(node.address)).open("/socket", "X-Forwarded-For: 203.0.113.8")


@pytest.mark.parametrize(("loop", "most_tracebacks"), [("uvloop", 0), ("asyncio", MOST_LINES)])
def test_descriptors_run_out_for_nobody(server: EmbeddedRedis, loop: str, most_tracebacks: int) -> None:
    """
    Connections above what the process may have open are answered with 503, before there is no descriptor left. asyncio
    takes up to 2 048 before we see one; it complains at most 20 times a minute, and goes on in a second.
    """
    with attacked("--loop", loop, env=ENVIRONMENT | {"QRSOCKET_REDIS_URL": server.url}) as node:
        with Witness(node.address):
            resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (200, 200))
            with ExitStack() as stack:
                attackers = [stack.enter_context(Raw(node.address)) for _ in range(300)]
                answers = {attacker.answer() for attacker in attackers}
            assert 1 == node.connections

        assert "503" in answers
        assert most_tracebacks >= sum("Traceback" in line for line in node.log)


def test_what_has_come_in_time_is_read(node: Node) -> None:
    """
    A head that came while the node stood still is answered, however late the node looks at it.
    """
    request = b"GET /socket/ready HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
    with Raw(node.address) as raw:
        while not node.has_open(raw.port):
            pass
        node.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, node.pid, os.WSTOPPED)
        raw.send(request)
        time.sleep(1.5 * HEAD_TIMEOUT)
        node.send_signal(signal.SIGCONT)

        assert "200" == raw.answer()


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("origin refused", lambda address: refusal(address, "Origin: http://evil.example")),
        ("Invalid UTF-8 sequence", lambda address: of("invalid UTF-8").run(address)),
        ("connection closed", lambda address: wrong_token(address)),
        ("flood of frames", lambda address: of("a flood of pongs").run(address)),
        ("Invalid HTTP request", lambda address: no_http(address)),
    ],
    ids=["origins", "invalid UTF-8", "tokens", "floods", "no HTTP"],
)
def test_the_log_is_not_filled(node: Node, bob: Witness, text: str, attack: object) -> None:
    """
    What a stranger does a hundred times is logged some times.
    """
    since = len(node.log)
    for _ in range(3 * MOST_LINES):
        attack(node.address)  # type: ignore[operator]

    lines = [line for line in node.log[since:] if text in line]
    assert 0 < len(lines) <= MOST_LINES


def of(name: str) -> Attack:
    return next(attack for attack in FRAMES if attack.name == name)


def wrong_token(address: str) -> None:
    with connect(f"ws://{address}/strangers") as client:
        client.send('"wrong"')
        with suppress(ConnectionClosed):
            while client.recv(PATIENCE):
                pass


def no_http(address: str) -> None:
    with Raw(address) as raw:
        raw.send(b"\0\r\n\r\n")
        assert "400" == raw.answer()
