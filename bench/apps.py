"""The applications that are measured."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from qrsocket import User
from qrsocket.server import SocketRouter

# Two lines for each connection, which the process that measures would have to read.
logging.getLogger("uvicorn.error").addFilter(lambda record: "running" in record.getMessage())

router = SocketRouter("/socket")


@router.on_connect
async def on_connect(query: dict[str, str]) -> User:
    return User(query["user"])


@router.on_join("room:{number}")
async def may_join(number: int) -> None: ...


@router.on_join("crowd:{number}", members=True)
async def may_join_the_crowd(number: int) -> None: ...


@router.on_offline
async def on_offline(user_id: str) -> None:
    await told.rpush("offline", user_id)


told = redis.asyncio.Redis.from_url(os.environ["QRSOCKET_REDIS_URL"])
qrsocket = FastAPI()
qrsocket.include_router(router)

sockets: set[WebSocket] = set()


@asynccontextmanager
async def relaying(_: FastAPI) -> AsyncIterator[None]:
    """The loop of most tutorials: it awaits each client in turn, and so the slowest of them."""

    async def relay() -> None:
        async with redis.asyncio.Redis.from_url(os.environ["QRSOCKET_REDIS_URL"]) as client:
            subscriber = client.pubsub()
            await subscriber.subscribe("everyone")
            async for message in subscriber.listen():
                if message["type"] == "message":
                    for websocket in tuple(sockets):
                        await websocket.send_text(message["data"].decode())

    task = asyncio.create_task(relay())
    yield
    task.cancel()


by_hand = FastAPI(lifespan=relaying)


@by_hand.websocket("/socket")
async def serve(websocket: WebSocket) -> None:
    await websocket.accept()
    sockets.add(websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        sockets.discard(websocket)
