"""
What it costs that nothing is lost: a send with and without the stream, `python -m bench.recovery`.

Redis' CPU is its own count (INFO cpu) over many pipelined scripts; the caller's is its process' over blocking sends.
*without* is the same script, but that it keeps nothing and counts no offset. Read the difference: the absolute figures
are this machine's.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import count
from statistics import median

from redis import Redis

from qrsocket.embedded_redis import embedded_redis
from qrsocket.fanout.publish import Routed, publish
from qrsocket.keys import Keys
from qrsocket.message import Kind, Message
from qrsocket.presence import answers, table
from qrsocket.roundtrip import Call, Script, run
from qrsocket.streams import of_user

SENDS, PIPELINED, ROUNDS = 4_000, 100, 5
MESSAGE = Message(Kind.TEXT, b'"' + b"x" * 198 + b'"')
KEYS = Keys("bench:{q0}:")
APPEND = "if most ~= '0' then"
Make = Callable[[Sequence[str]], Call[Routed]]

ids = (f"bench:{number}" for number in count())


def with_recovery(users: Sequence[str]) -> Call[Routed]:
    return publish(KEYS, MESSAGE, next(ids), users)


def without_recovery(users: Sequence[str]) -> Call[Routed]:
    call = with_recovery(users)
    assert call.script is not None
    return replace(call, script=_keeping_nothing(call.script))


@cache
def _keeping_nothing(script: Script) -> Script:
    assert APPEND in script.source
    return Script(script.source.replace(APPEND, "if false then"))


def redis_us(client: Redis, make: Make, users: Sequence[str], sends: int) -> float:
    """Return µs of CPU that Redis spends on one send."""
    run(client, make(users), timeout=5)  # Redis has the script
    pipeline = client.pipeline(transaction=False)
    before = _cpu(client)
    for _ in range(sends // PIPELINED):
        for _ in range(PIPELINED):
            pipeline.execute_command(*make(users).words)
        pipeline.execute()
    return (_cpu(client) - before) / sends * 1e6


def caller_us(client: Redis, make: Make, users: Sequence[str], sends: int) -> float:
    """Return µs of CPU that a blocking send costs its process."""
    before = time.process_time()
    for _ in range(sends):
        run(client, make(users), timeout=5)
    return (time.process_time() - before) / sends * 1e6


def main(client: Redis) -> None:
    nodes = [f"n{number}" for number in range(16)]
    subscriber = client.pubsub()
    for node in nodes:
        subscriber.subscribe(KEYS.channel(node))
        run(client, table.join(KEYS, node, lease=600), timeout=5)
    crowd = [of_user(f"user{number}") for number in range(100)]
    on_two, on_sixteen = of_user("two"), of_user("sixteen")
    for number, user in enumerate(crowd):
        _attach(client, nodes[number % 2], user)
    for node in nodes[:2]:
        _attach(client, node, on_two)
    for node in nodes:
        _attach(client, node, on_sixteen)

    cases: dict[str, tuple[list[str], int]] = {
        "1 user, offline": ([of_user("offline")], SENDS),
        "1 user, on 2 nodes": ([on_two], SENDS),
        "1 user, on 16 nodes": ([on_sixteen], SENDS),
        "100 users, on 2 nodes": (crowd, SENDS // 20),
    }
    sys.stdout.write("µs of CPU a send               Redis with  without     caller with  without\n")
    for name, (users, sends) in cases.items():
        rows = [
            [measure(client, make, users, sends) for measure in (redis_us, caller_us) for make in VARIANTS]
            for _ in range(ROUNDS)
        ]
        a, b, c, d = (median(column) for column in zip(*rows, strict=True))
        sys.stdout.write(f"{name:28} {a:12.1f} {b:8.1f} {c:15.1f} {d:8.1f}\n")


VARIANTS: tuple[Make, Make] = (with_recovery, without_recovery)


def _attach(client: Redis, node: str, user: str) -> None:
    run(client, table.attach(KEYS, node, [answers.Count(user, 1)], grace=1), timeout=5)


def _cpu(client: Redis) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


if __name__ == "__main__":
    # The subscriber here reads nothing while it is measured.
    with embedded_redis("--client-output-buffer-limit", "pubsub 0 0 0") as server, Redis(port=server.port) as client:
        main(client)
