"""The node that one writes by hand: a dict of WebSockets, and a loop that awaits each in turn."""

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis
import redis.asyncio
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from bench.publisher import TOPIC, Send, Target

by_user: defaultdict[str, set[WebSocket]] = defaultdict(set)
by_topic: defaultdict[str, set[WebSocket]] = defaultdict(set)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    # redis-py's own timeout, 5 s, would end a loop to which nothing is sent for so long.
    client = redis.asyncio.Redis.from_url(os.environ["QRSOCKET_REDIS_URL"], socket_timeout=None)
    async with client, client.pubsub() as subscriber:
        await subscriber.subscribe("messages")
        task = asyncio.create_task(relay(subscriber))
        yield
        task.cancel()


async def relay(subscriber: redis.asyncio.client.PubSub) -> None:
    async for event in subscriber.listen():
        if event["type"] != "message":
            continue
        message = json.loads(event["data"])
        if "topic" in message:
            to = list(by_topic[message["topic"]])
        else:
            to = [websocket for user in message["users"] for websocket in by_user[user]]
        text = json.dumps(message["data"])
        for websocket in to:
            await websocket.send_text(text)


app = FastAPI(lifespan=lifespan)


@app.websocket("/socket")
async def serve(websocket: WebSocket, user: str, topic: str = "") -> None:
    await websocket.accept()
    mine = [by_user[user], by_topic[topic]] if topic else [by_user[user]]
    for sockets in mine:
        sockets.add(websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        for sockets in mine:
            sockets.discard(websocket)


def sender(redis_url: str) -> Send:
    client = redis.Redis.from_url(redis_url)

    def send(to: Target, message: dict[str, object]) -> None:
        where = {"topic": TOPIC} if to is None else {"users": to}
        client.publish("messages", json.dumps({**where, "data": message}))

    return send
