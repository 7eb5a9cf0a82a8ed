"""
An application that writes down when its hooks run, whose message handler goes on until it is let, and which can be
blocked.
"""

import os
import time

import redis.asyncio
from fastapi import FastAPI

from qrsocket import User
from qrsocket.server import SocketRouter

router = SocketRouter("/socket")
told = redis.asyncio.Redis.from_url(os.environ["QRSOCKET_REDIS_URL"], socket_timeout=None)


@router.on_connect
async def on_connect(user: str) -> User:
    return User(user)


@router.on_message(type="string")
async def on_message(data: str) -> None:
    await told.rpush("begun", data)
    await told.blpop(["go on"], timeout=60)
    await told.rpush("ended", data)


@router.on_online
async def on_online(user_id: str) -> None:
    await told.rpush("told", f"online {user_id}")


@router.on_offline
async def on_offline(user_id: str) -> None:
    await told.rpush("told", f"offline {user_id}")


app = FastAPI()
app.include_router(router)


@app.get("/block")
async def block() -> None:
    print("blocked", flush=True)
    time.sleep(3600)  # noqa: ASYNC251 - to block is what it is for
