"""
A node dies, and all its clients come back at once: `python -m bench.reconnects`.

2 000 clients that speak `qrsocket.v1`, each with 5 topics, are on a node that is killed. Each was sent something
meanwhile, and so was each topic. How long until all are ready on the other node, with what they missed?
"""

import asyncio
import json
import os
import random
import sys
import time

import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from qrsocket import CloseCode, socket
from qrsocket.embedded_redis import embedded_redis
from tests.running import WebNode, web_node

CLIENTS, OPENING_AT_ONCE = 2_000, 50
MISSED, TOPICS, ROOMS = 3, 5, 200


async def ready(node: WebNode, user: int, since: dict[str, object]) -> tuple[ClientConnection, dict[str, object]]:
    """Open a connection, and return it with its `ready`."""
    url = f"ws://127.0.0.1:{node.port}/socket?user={user}"
    connection = await connect(url, subprotocols=["qrsocket.v1"], compression=None, open_timeout=60)  # type: ignore[list-item]
    await connection.send("!hello\n" + json.dumps(since))
    header, _, body = str(await connection.recv()).partition("\n")
    assert header == "!ready", header
    return connection, json.loads(body)


async def join_topics(connection: ClientConnection, user: int) -> dict[str, object]:
    """Join the topics of *user*, and return the place in each."""
    places: dict[str, object] = {}
    for number in range(TOPICS):
        topic = f"room:{(user + number) % ROOMS}"
        await connection.send("!join\n" + json.dumps({"topic": topic, "request": topic}))
        header, _, body = str(await connection.recv()).partition("\n")
        assert header == "!joined", body
        told = json.loads(body)
        places[topic] = {"epoch": told["epoch"], "offset": told["offset"]}
    return places


async def ready_in_the_end(
    node: WebNode, user: int, since: dict[str, object]
) -> tuple[ClientConnection, dict[str, object]]:
    """As `ready`; when the node asks for it, as our client does, again after a while."""
    longest = 0.5
    while True:
        try:
            return await ready(node, user, since)
        except ConnectionClosed as error:
            if error.rcvd is None or error.rcvd.code != CloseCode.OVERLOADED:
                raise
        await asyncio.sleep(random.uniform(0, longest))
        longest *= 2


async def come_back(node: WebNode, user: int, since: dict[str, object]) -> float:
    """Return when everything that was missed is there."""
    connection, told = await ready_in_the_end(node, user, since)
    assert told["recovered"], told
    assert all(place["recovered"] for name, place in told["topics"].items() if name != "*"), told
    missed = [str(await connection.recv()).partition("\n") for _ in range(MISSED + TOPICS)]
    assert [f"missed {number}" for number in range(MISSED)] == [body for head, _, body in missed if "t=" not in head]
    assert TOPICS == len({head for head, _, body in missed if body == "missed in a room"})
    at = time.monotonic()
    await connection.close()
    return at


async def main() -> None:
    with web_node(app="bench.apps:qrsocket") as dying, web_node(app="bench.apps:qrsocket") as other:
        positions: list[dict[str, object]] = []
        for start in range(0, CLIENTS, OPENING_AT_ONCE):
            users = range(start, start + OPENING_AT_ONCE)
            opened = await asyncio.gather(*(ready(dying, user, {}) for user in users))
            joined = await asyncio.gather(
                *(join_topics(one, user) for (one, _), user in zip(opened, users, strict=True))
            )
            positions += [
                {"epoch": told["epoch"], "offset": told["offset"], "topics": places}
                for (_, told), places in zip(opened, joined, strict=True)
            ]
        dying.kill()
        killed_at = time.monotonic()
        for number in range(MISSED):
            await socket.to(range(CLIENTS)).send(f"missed {number}")
        for number in range(ROOMS):
            await socket.topic(f"room:{number}").send("missed in a room")
        sent_at = time.monotonic()
        process = psutil.Process(other.pid)
        before = sum(process.cpu_times()[:2])
        came = sorted(await asyncio.gather(*(come_back(other, user, at) for user, at in enumerate(positions))))
        spent = sum(process.cpu_times()[:2]) - before
        half, last = came[CLIENTS // 2] - sent_at, came[-1] - sent_at
        sys.stdout.write(f"{CLIENTS} clients with {TOPICS} topics each are back with what they missed: ")
        sys.stdout.write(f"half in {half:.1f} s, all in {last:.1f} s\n")
        sys.stdout.write(f"{came[-1] - killed_at:.1f} s after the kill; {spent / CLIENTS * 1e6:.0f} µs of CPU each\n")


if __name__ == "__main__":
    with embedded_redis() as server:
        os.environ["QRSOCKET_REDIS_URL"] = server.url
        asyncio.run(main())
