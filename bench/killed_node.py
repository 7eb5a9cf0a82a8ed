"""
A node with 1 000 users is killed: how long until `on_offline` has run for each of them? `python -m bench.killed_node`.

With the default settings. The bound is lease + tick + grace: until then the node might have lived, and its users might
have come back.
"""

import asyncio
import os
import sys
import time

from redis import Redis
from websockets.asyncio.client import connect

from qrsocket.embedded_redis import embedded_redis
from qrsocket.settings import get_settings
from tests.running import web_node

USERS, OPENED_AT_ONCE = 1_000, 50


async def open_all(port: int) -> None:
    for start in range(0, USERS, OPENED_AT_ONCE):
        users = range(start, start + OPENED_AT_ONCE)
        await asyncio.gather(
            *(connect(f"ws://127.0.0.1:{port}/socket?user={user}", compression=None) for user in users)
        )


async def told(redis: Redis, count: int) -> None:
    while redis.llen("offline") < count:
        await asyncio.sleep(0.02)


async def main(redis: Redis) -> None:
    settings = get_settings()
    bound = settings.lease + settings.renew_interval + settings.offline_grace
    with web_node(app="bench.apps:qrsocket") as dying, web_node(app="bench.apps:qrsocket"):
        await open_all(dying.port)
        dying.kill()
        killed_at = time.monotonic()
        await told(redis, 1)
        first = time.monotonic() - killed_at
        await told(redis, USERS)
        last = time.monotonic() - killed_at
        each_once = len(set(redis.lrange("offline", 0, -1))) == redis.llen("offline") == USERS
    sys.stdout.write(f"lease + tick + grace: {bound:.1f} s; first hook after {first:.1f} s, last after {last:.1f} s")
    sys.stdout.write(f"; each once: {each_once}\n")


if __name__ == "__main__":
    with embedded_redis() as server, Redis(port=server.port) as client:
        os.environ["QRSOCKET_REDIS_URL"] = server.url
        asyncio.run(main(client))
