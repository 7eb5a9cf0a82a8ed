"""
CPU of a web node per delivery, beside the loop that one writes by hand: `python -m bench.deliveries`.

Both serve plain uvicorn as it comes, to the same clients, and deliver the same messages from the same Redis. Read the
ratio: the absolute figures are this machine's.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

import psutil
import redis.asyncio
from websockets.asyncio.client import ClientConnection, connect

from qrsocket import socket
from qrsocket.embedded_redis import embedded_redis
from tests.running import WebNode, web_node

CONNECTIONS, MESSAGES, ROUNDS = 200, 100, 3
PAYLOAD = "x" * 200
USERS = [str(n) for n in range(CONNECTIONS)]


async def send_by_qrsocket() -> None:
    await socket.to(USERS).send(PAYLOAD)


async def send_by_hand() -> None:
    await by_hand.publish("everyone", PAYLOAD)


async def cpu_per_delivery(node: WebNode, send: Callable[[], Awaitable[None]]) -> float:
    """Return µs of user and system time per delivery."""
    address = f"ws://127.0.0.1:{node.port}/socket"
    clients = [await connect(f"{address}?user={user}", compression=None) for user in USERS]
    process = psutil.Process(node.pid)
    before = sum(process.cpu_times()[:2])
    received = asyncio.gather(*(_receive(client) for client in clients))
    for _ in range(MESSAGES):
        await send()
    await received
    spent = sum(process.cpu_times()[:2]) - before
    await asyncio.gather(*(client.close() for client in clients))
    return spent / (CONNECTIONS * MESSAGES) * 1e6


async def _receive(client: ClientConnection) -> None:
    for _ in range(MESSAGES):
        await client.recv()


async def main() -> None:
    with web_node(app="bench.apps:qrsocket") as ours, web_node(app="bench.apps:by_hand", ready=None) as theirs:
        for _ in range(ROUNDS):
            a, b = await cpu_per_delivery(ours, send_by_qrsocket), await cpu_per_delivery(theirs, send_by_hand)
            sys.stdout.write(f"qrsocket {a:5.1f} µs   by hand {b:5.1f} µs   ratio {a / b:.2f}\n")


if __name__ == "__main__":
    with embedded_redis() as server:
        os.environ["QRSOCKET_REDIS_URL"] = server.url
        by_hand = redis.asyncio.Redis.from_url(server.url)
        asyncio.run(main())
