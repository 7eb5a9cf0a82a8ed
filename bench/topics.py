"""
What topics cost: `python -m bench.topics`.

Redis' CPU is its own count (INFO cpu) over many pipelined sends, in rounds that take turns. A web node's is its
process', for each client that connects, and for each that joins a topic of many members, whose others are told.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from statistics import median

import psutil
from redis import Redis
from websockets.asyncio.client import ClientConnection, connect

from qrsocket.embedded_redis import embedded_redis
from qrsocket.fanout.publish import NOTHING, Keep, publish
from qrsocket.keys import Keys
from qrsocket.message import Kind, Message
from qrsocket.presence import answers, table
from qrsocket.roundtrip import run
from qrsocket.streams import EVERYONE, Stream, of_topic, of_user
from tests.running import WebNode, web_node

SENDS, PIPELINED, ROUNDS = 3_000, 100, 9
MESSAGE = Message(Kind.JSON, b'"' + b"x" * 198 + b'"')
KEYS = Keys("bench:{q0}:")
MEMBERS, AT_ONCE = 5_000, 50
NODES = ("n1", "n2")

ids = (f"bench:{number}" for number in count())


def redis_us(client: Redis, streams: Sequence[Stream], sends: int, keep: Keep) -> float:
    """Return µs of CPU that Redis spends on one send."""
    run(client, publish(KEYS, MESSAGE, next(ids), streams, keep=keep), timeout=5)  # Redis has the script
    pipeline = client.pipeline(transaction=False)
    before = _cpu(client)
    for _ in range(sends // PIPELINED):
        for _ in range(PIPELINED):
            pipeline.execute_command(*publish(KEYS, MESSAGE, next(ids), streams, keep=keep).words)
        pipeline.execute()
    return (_cpu(client) - before) / sends * 1e6


def sends(client: Redis) -> None:
    subscriber = client.pubsub()
    for node in NODES:
        subscriber.subscribe(KEYS.channel(node))
        run(client, table.join(KEYS, node, lease=600), timeout=5)
    crowd = [of_user(f"user{number}") for number in range(1_000)]
    streams: dict[Stream, int] = dict.fromkeys(crowd, 1)
    streams |= {of_user("one"): 1, of_topic("small"): 500, of_topic("large"): 5_000, EVERYONE: 2_500}
    for node in NODES:
        for stream, here in streams.items():
            run(client, table.attach(KEYS, node, [answers.Count(stream, here)], grace=1), timeout=5)
    cases: dict[str, tuple[list[Stream], int, Keep]] = {
        "one user": ([of_user("one")], SENDS, Keep()),
        "a topic of 1 000": ([of_topic("small")], SENDS, Keep()),
        "a topic of 10 000": ([of_topic("large")], SENDS, Keep()),
        "a topic, not kept": ([of_topic("large")], SENDS, NOTHING),
        "everyone, 5 000": ([EVERYONE], SENDS, NOTHING),
        "to(1 000 users)": (crowd, PIPELINED, Keep()),
    }
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, (to, number, keep) in cases.items():
            measured[name].append(redis_us(client, to, number, keep))
    sys.stdout.write("a send, on 2 nodes        Redis' CPU in µs\n")
    for name, rounds in measured.items():
        sys.stdout.write(f"{name:24} {median(rounds):8.1f}\n")


async def joins(node: WebNode) -> None:
    """Connect many clients, have all join one topic, and have some leave it."""
    process = psutil.Process(node.pid)

    async def measured(work: Callable[[int], Awaitable[ClientConnection]]) -> tuple[list[ClientConnection], float]:
        before, done = sum(process.cpu_times()[:2]), []
        for start in range(0, MEMBERS, AT_ONCE):
            done += await asyncio.gather(*map(work, range(start, start + AT_ONCE)))
        return done, (sum(process.cpu_times()[:2]) - before) / MEMBERS * 1e6

    async def open_one(number: int) -> ClientConnection:
        url = f"ws://127.0.0.1:{node.port}/socket?user={number}"
        connection = await connect(
            url, subprotocols=["qrsocket.v1"], compression=None, ping_interval=None, max_queue=None
        )  # type: ignore[list-item]
        await connection.send("!hello\n{}")
        assert str(await connection.recv()).startswith("!ready")
        return connection

    clients, connecting_us = await measured(open_one)

    async def join_one(number: int) -> ClientConnection:
        connection = clients[number]
        await connection.send("!join\n" + json.dumps({"topic": "crowd:1", "request": "1"}))
        while not str(await connection.recv()).startswith("!joined"):
            pass
        return connection

    _, joining_us = await measured(join_one)
    last = clients[-1]
    await asyncio.gather(*(client.close() for client in clients[:1000]))
    told, left = 0, 0
    while left < 1000:
        header, _, body = str(await last.recv()).partition("\n")
        if header == "!members" and (gone := json.loads(body)["left"]):
            told, left = told + 1, left + len(gone)
    sys.stdout.write(f"{MEMBERS} clients on one node: {connecting_us:.0f} µs of its CPU for each that connects,\n")
    sys.stdout.write(f"{joining_us:.0f} µs for each that joins a topic that tells its members. 1 000 leave: ")
    sys.stdout.write(f"the others were told in {told} frames each\n")
    await asyncio.gather(*(client.close() for client in clients[1000:]))


def _cpu(client: Redis) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user_main_thread"] + used["used_cpu_sys_main_thread"])


if __name__ == "__main__":
    # The subscriber here reads nothing while it is measured.
    with embedded_redis("--client-output-buffer-limit", "pubsub 0 0 0") as server, Redis(port=server.port) as client:
        sends(client)
    with embedded_redis() as server:
        os.environ["QRSOCKET_REDIS_URL"] = server.url
        with web_node(app="bench.apps:qrsocket") as node:
            asyncio.run(joins(node))
