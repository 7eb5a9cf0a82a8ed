"""The application of the benchmarks of one question each."""

import logging
import os

import redis.asyncio
from fastapi import FastAPI

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
