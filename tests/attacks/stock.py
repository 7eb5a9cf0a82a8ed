"""
Runs the attacks of one connection against uvicorn's own classes and against ours, and prints both as a table:

    python -m tests.attacks.stock [WORD in the names of the attacks]

Each has 10 s, and the application 5 s instead of 20 s to answer a handshake. On uvicorn's own, frames are sent to a
WebSocket route as people write them, on ours to a socket router.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from qrsocket.embedded_redis import embedded_redis
from tests.attacks.attacks import FRAMES, HEADS, Attack
from tests.attacks.node import Node, attacked
from tests.attacks.raw import Raw

PATIENCE = 10.0
WORTH_TELLING_MIB = 10
ENVIRONMENT = {"QRSOCKET_COMPRESSION": "true", "QRSOCKET_HANDSHAKE_TIMEOUT": "5"}


def outcome(attack: Attack, node: Node, path: str) -> str:
    """Attack *node*, and return what it has answered, when, and what it took."""
    before, began = node.memory_mib, time.monotonic()
    with Raw(node.address, patience=PATIENCE) as raw:
        try:
            answer = attack.attempt(raw, path)
        except AssertionError:
            answer = "taken, and open" if raw.received else "waits"
        seconds, mib = time.monotonic() - began, node.memory_mib - before
    words = [answer]
    words += [f"after {seconds:.0f} s"] if 1 <= seconds < PATIENCE else []
    words += [f"{mib:.0f} MiB"] if mib >= WORTH_TELLING_MIB else []
    return ", ".join(words)


@contextmanager
def nodes() -> Iterator[tuple[Node, Node]]:
    """A node with uvicorn's classes, and one with ours."""
    with (
        embedded_redis() as server,
        attacked(env=ENVIRONMENT | {"QRSOCKET_REDIS_URL": server.url}, is_ours=False) as stock,
        attacked(env=ENVIRONMENT | {"QRSOCKET_REDIS_URL": server.url}) as ours,
    ):
        yield stock, ours


def main() -> None:
    print("| attack | uvicorn's own | ours |\n| --- | --- | --- |")
    for attack in [one for one in (*HEADS, *FRAMES) if all(word in one.name for word in sys.argv[1:])]:
        with nodes() as (stock, ours):  # anew for each: some leave the other one busy
            row = attack.name, outcome(attack, stock, "/other"), outcome(attack, ours, "/socket")
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
