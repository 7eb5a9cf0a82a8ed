"""What one connection sends, before and after its handshake: it is answered, costs little, and nobody notices."""

import time
from contextlib import ExitStack

import pytest

from tests.attacks.attacks import FRAMES, HEADS, Attack
from tests.attacks.node import Node
from tests.attacks.raw import PING, Raw, frame
from tests.attacks.witness import Witness
from tests.clients import PATIENCE

# What any connection may leave in the process: the allocator keeps some of what was used.
MOST_MIB = 8.0


@pytest.mark.parametrize("attack", [*HEADS, *FRAMES], ids=lambda attack: attack.name)
def test_an_attack(node: Node, bob: Witness, attack: Attack) -> None:
    """
    It is answered and closed, takes no memory, and another user is served meanwhile.
    """
    before = node.memory_mib

    assert attack.answer == attack.run(node.address)
    assert node.memory_mib - before < MOST_MIB


def test_a_head_that_trickles(node: Node, bob: Witness) -> None:
    """
    A byte now and then gets a head no more time, on a connection that has been served before, too.
    """
    with Raw(node.address) as raw:
        raw.send(b"GET /echo HTTP/1.1\r\nHost: node\r\n\r\n")
        raw.send(b"GET / HTTP/1.1\r\nX: ")
        while raw.is_open(0.05):
            raw.send(b"x")

        assert b" 200 " in raw.received
        assert b" 408 " in raw.received


def test_the_rest_of_a_body_that_nobody_wants(node: Node, bob: Witness) -> None:
    """
    Who has an answer, and goes on sending the request, is cut off.
    """
    with Raw(node.address) as raw:
        raw.send(b"POST /socket/ready HTTP/1.1\r\nHost: node\r\nContent-Length: 1000000\r\n\r\nx")
        while raw.is_open(0.1):
            raw.send(b"x")

        assert b" 405 " in raw.received


def test_many_heads_at_once(node: Node, bob: Witness) -> None:
    """
    Two hundred slow heads are all ended, and cost little while they are not.
    """
    before = node.memory_mib
    with ExitStack() as stack:
        attackers = [stack.enter_context(Raw(node.address)) for _ in range(200)]
        for attacker in attackers:
            attacker.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 50_000)
        during = node.memory_mib
        answers = [attacker.answer() for attacker in attackers]

    assert {"408"} == set(answers)
    assert during - before < 50  # 200 × 50 kB, held up to three times, and the objects


def test_readers_that_read_nothing(node: Node, bob: Witness) -> None:
    """
    Clients that ask, and read no answer, hold no more than their queues, and are gone when no ping is answered.
    """
    before = node.memory_mib
    with ExitStack() as stack:
        readers = [stack.enter_context(Raw(node.address, receive_buffer=4096)).open() for _ in range(20)]
        for reader in readers:
            for _ in range(40):
                reader.send(frame(b'"' + b"x" * 20_000 + b'"'))
        during = node.memory_mib

        deadline = time.monotonic() + PATIENCE
        while node.connections > 1:
            assert time.monotonic() < deadline, node.connections
            time.sleep(0.05)
    assert during - before < 60


def test_answers_that_nobody_reads(node: Node, bob: Witness) -> None:
    """
    Who asks for a page and does not read it is cut off by the kernel, when a ping would not have been answered.
    """
    with Raw(node.address, receive_buffer=4096) as raw:
        raw.send(b"GET /large HTTP/1.1\r\nHost: node\r\n\r\n")
        deadline = time.monotonic() + PATIENCE
        while node.has_open(raw.port):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_pings_that_nobody_reads(node: Node, bob: Witness) -> None:
    """
    The answers to pings fill no memory when they are not read.
    """
    before = node.memory_mib
    with Raw(node.address, receive_buffer=4096) as raw:
        raw.open("/socket?user=mallory")
        while raw.send(frame(b"x" * 125, PING)):
            pass

    assert node.memory_mib - before < MOST_MIB


def test_a_websocket_that_is_not_ours(node: Node, bob: Witness) -> None:
    """
    Another route of the application has uvicorn's own limits: it takes messages over our 64 KiB.
    """
    with Raw(node.address) as raw:
        raw.open("/other")
        raw.send(frame(b"x" * 200_000))
        raw.wait_for(b"200000")
