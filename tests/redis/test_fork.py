"""Processes that fork after they have sent, as Celery's and Gunicorn's do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients import PATIENCE
from tests.redis.conftest import Node

PROGRAM = Path(__file__).with_name("fork_and_send.py")
CHILDREN, MESSAGES = 4, 50


@pytest.mark.parametrize("colour", ["blocking", "awaiting"])
@pytest.mark.parametrize("way", ["fork", "multiprocessing"])
def test_forked_children_send_for_themselves(node: Node, way: str, colour: str) -> None:
    """
    Each child gets the answers to its own messages, under ids of its own, and every message arrives once.
    """
    for child in range(1, CHILDREN + 1):
        node.attach(child, child)  # the count tells whose answer it is
    command = [sys.executable, str(PROGRAM), way, colour, str(CHILDREN), str(MESSAGES)]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE)
    sent = [json.loads(line) for line in ended.stdout.splitlines()]
    envelopes = node.envelopes()

    assert (0, "") == (ended.returncode, ended.stderr)
    assert CHILDREN * MESSAGES + 6 == len(sent) == len({id for _, id, _ in sent})
    assert [] == [line for line in sent if line[0] != line[2]]
    assert sorted(id for child, id, _ in sent if child) == sorted(envelope.message_id for envelope in envelopes)
    for child in range(1, CHILDREN + 1):
        arrived = [int(envelope.message.payload) for envelope in envelopes if envelope.recipients[0][0] == f"u:{child}"]
        assert list(range(MESSAGES)) == sorted(arrived)
