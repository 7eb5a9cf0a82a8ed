"""
A node with 2 000 clients is told to stop: `python -m bench.drain`.

They speak `qrsocket.v1`, are sent a message twice a second, and come back to the other node when they are told to. Is
anything lost, does a hook run, how long is each of them away, and how long does the node take?
"""

import asyncio
import os
import sys
import time
from itertools import count
from statistics import median

import psutil
from redis import Redis

from qrsocket import CloseCode, socket
from qrsocket.embedded_redis import embedded_redis
from qrsocket.settings import get_settings
from tests.processes.following import LAST, Follower, all_ready
from tests.running import WebNode, serve

APP = "tests.processes.draining:app"
CLIENTS, OPENING_AT_ONCE = 2_000, 50
EVERY = 0.5


async def open_all(followers: list[Follower], nodes: tuple[WebNode, ...]) -> list["asyncio.Task[None]"]:
    addresses = [f"127.0.0.1:{node.port}" for node in nodes]
    following: list[asyncio.Task[None]] = []
    for start in range(0, CLIENTS, OPENING_AT_ONCE):
        batch = followers[start : start + OPENING_AT_ONCE]
        following += [asyncio.create_task(follower.follow(*addresses)) for follower in batch]
        await all_ready(batch, following)
    return following


async def send_until_ended(node: WebNode) -> int:
    """Send numbers to all until the process of *node* has ended, and return how many."""
    for number in count():
        await socket.to(range(CLIENTS)).send(number)
        await asyncio.sleep(EVERY)
        if node.process.poll() is not None:
            return number + 1
    raise AssertionError


async def main(redis: Redis) -> None:
    followers = [Follower(str(number)) for number in range(CLIENTS)]
    with serve(APP) as stopped, serve(APP) as other:
        following = await open_all(followers, (stopped, other))
        while redis.llen("told") < CLIENTS:
            await asyncio.sleep(EVERY)
        redis.delete("told")
        process = psutil.Process(other.pid)
        before = sum(process.cpu_times()[:2])
        began = time.monotonic()
        stopped.process.terminate()
        sent = await send_until_ended(stopped)
        took = time.monotonic() - began
        await socket.to(range(CLIENTS)).send(LAST)
        await asyncio.gather(*following)
        spent = sum(process.cpu_times()[:2]) - before
    expected = [*range(sent), LAST]
    wrong = sum(follower.received != expected for follower in followers)
    away = sorted(one.back[-1] - at for one in followers for at, code in one.closed if code == CloseCode.RESTART)
    sys.stdout.write(f"drain_seconds {get_settings().drain_seconds:g}: the node has ended after {took:.1f} s\n")
    sys.stdout.write(f"away, in s: median {median(away):.2f}, 99 of 100 {away[len(away) * 99 // 100]:.2f}, ")
    sys.stdout.write(f"longest {away[-1]:.2f}; the other node was busy for {spent:.1f} s of CPU\n")
    sys.stdout.write(f"{sent + 1} messages to each: {wrong} clients lost one, or had one twice or in another order; ")
    sys.stdout.write(f"hooks that ran: {redis.llen('told')}\n")


if __name__ == "__main__":
    with embedded_redis() as server, Redis(port=server.port) as client:
        os.environ["QRSOCKET_REDIS_URL"] = server.url
        asyncio.run(main(client))
