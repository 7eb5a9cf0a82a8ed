"""python-socketio with its Redis manager: a room for each user, and for the topic."""

import os
from typing import Any
from urllib.parse import parse_qs

import socketio

from bench.publisher import TOPIC, Send, Target

server = socketio.AsyncServer(
    async_mode="asgi", client_manager=socketio.AsyncRedisManager(os.environ["QRSOCKET_REDIS_URL"])
)
app = socketio.ASGIApp(server)


@server.event
async def connect(sid: str, environ: dict[str, Any]) -> None:
    query = parse_qs(environ["QUERY_STRING"])
    for room in (f"user.{query['user'][0]}", *query.get("topic", ())):
        await server.enter_room(sid, room)


def sender(redis_url: str) -> Send:
    manager = socketio.RedisManager(redis_url, write_only=True)

    def send(to: Target, message: dict[str, object]) -> None:
        manager.emit("message", message, room=TOPIC if to is None else [f"user.{user}" for user in to])

    return send
