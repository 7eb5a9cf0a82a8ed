"""Litestar's channels with their Redis pub/sub backend: a channel for each user, each hundred, and the topic."""

import json
import os
from contextlib import suppress

import redis
from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.redis import RedisChannelsPubSubBackend
from litestar.exceptions import WebSocketDisconnect
from redis.asyncio import Redis

from bench.peers.groups import group_of, groups_of
from bench.publisher import Send, Target

# As in by_hand: without, a node to which nothing is sent for 5 s hears nothing more.
client = Redis.from_url(os.environ["QRSOCKET_REDIS_URL"], socket_timeout=None)
backend = RedisChannelsPubSubBackend(redis=client)
# Subscribed to one at the start: when the first two connections come at once, redis-py connects twice and loses one.
plugin = ChannelsPlugin(backend=backend, channels=["start"], arbitrary_channels_allowed=True)


@websocket("/socket")
async def serve(socket: WebSocket, channels: ChannelsPlugin) -> None:
    groups = groups_of(socket.query_params["user"], socket.query_params.get("topic", ""))
    async with channels.start_subscription(groups) as subscriber:
        await socket.accept()
        async with subscriber.run_in_background(socket.send_text):
            with suppress(WebSocketDisconnect):
                while True:
                    await socket.receive_text()


app = Litestar([serve], plugins=[plugin])


def sender(redis_url: str) -> Send:
    publishing = redis.Redis.from_url(redis_url)

    def send(to: Target, message: dict[str, object]) -> None:
        publishing.publish(group_of(to), json.dumps(message))  # as their `publish` does, in a script

    return send
