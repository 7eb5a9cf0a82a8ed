"""What an open connection says: documents that are cheap to send and dear to read, and names that mean something."""

import json
from contextlib import ExitStack
from typing import Any

import pytest

from tests.app.test_costs import COSTLY
from tests.attacks.node import Node
from tests.attacks.raw import PING, TEXT, Raw, frame, frames
from tests.attacks.witness import Witness

MISSHAPEN = {
    "NaN": "NaN",
    "infinity": "[Infinity, -Infinity]",
    "half a surrogate pair": '"\\ud800"',
    "an endless number": "1" * 60_000,
    "an exponent": "1e999999999",
    "too deep": "[" * 30_000 + "]" * 30_000,
    "one key twice": '{"a": 1, "a": 2}',
    "no JSON": "{]",
    "nothing": "",
    "a control of no name": "!\n{}",
    "a control of ours": '!ready\n{"epoch": "x", "offset": 0}',
    "a request without end": "9" * 500 + "\n1",
}


def answer_to(raw: Raw, text: str) -> Any:
    """Send *text*, and return the JSON of the answer."""
    raw.received.clear()
    raw.send(frame(text.encode()))
    while True:
        for opcode, payload, _end in frames(raw.received):
            if opcode == TEXT:
                return json.loads(payload)
            assert opcode == PING, (opcode, payload)
        assert raw._read(), raw.received


@pytest.mark.parametrize("text", MISSHAPEN.values(), ids=MISSHAPEN)
def test_a_misshapen_document(node: Node, bob: Witness, text: str) -> None:
    """
    It is answered, with an error or as what it is, and the connection lives on.
    """
    with Raw(node.address) as raw:
        raw.open("/socket?user=mallory")
        answer = answer_to(raw, text)

        assert answer.keys() in ({"error"}, {"echo"}), answer
        assert "Internal" not in str(answer)
        assert {"echo": 1} == answer_to(raw, "1")


@pytest.mark.parametrize("key", ["__proto__", "constructor", "toString", "__class__", "$ref", "then"])
def test_keys_that_mean_something(node: Node, key: str) -> None:
    """
    A key that means something to JavaScript or Python is a key.
    """
    document = {key: {"polluted": True}}
    with Raw(node.address) as raw:
        raw.open("/socket?user=mallory")

        assert {"echo": document} == answer_to(raw, json.dumps(document))


@pytest.mark.parametrize("text", COSTLY.values(), ids=COSTLY)
def test_a_burst_of_costly_messages(node: Node, bob: Witness, text: str) -> None:
    """
    Bursts of messages that are cheap to send and dear to read, on several connections, delay nobody else and take no
    memory.
    """
    before = node.memory_mib
    with ExitStack() as stack:
        attackers = [stack.enter_context(Raw(node.address)).open(f"/socket?user={n}") for n in range(4)]
        for attacker in attackers:
            for _ in range(8):
                attacker.send(frame(text.encode()[:65_000]))
        for attacker in attackers:
            attacker.wait_for(b'{"e')  # an echo, or an error

    assert node.memory_mib - before < 60
