"""An application whose hooks say when they begin, and end when they are let."""

import os

from fastapi import FastAPI
from redis import Redis

from qrsocket import User
from qrsocket.server import SocketRouter

router = SocketRouter("/socket")
# It waits for as long as a test takes: redis-py gives up after 5 s.
redis = Redis.from_url(os.environ["QRSOCKET_REDIS_URL"], socket_timeout=None)
name = os.environ["QRSOCKET_NODE_NAME"]


@router.on_connect
async def on_connect(user: str) -> User:
    return User(user)


@router.on_online
def on_online(user_id: str, event_id: str, attempt: int) -> None:
    redis.rpush("begun", f"{name} online {event_id} {attempt}")
    redis.blpop(["go on"], timeout=60)
    redis.rpush("ended", f"{name} online {event_id} {attempt}")


@router.on_offline
def on_offline(user_id: str, event_id: str, attempt: int) -> None:
    redis.rpush("ended", f"{name} offline {event_id} {attempt}")


app = FastAPI()
app.include_router(router)
