"""Our own node, as an application has it: users are known, presence is kept, a topic is joined."""

from fastapi import FastAPI

from bench.publisher import TOPIC, Send, Target
from qrsocket import User, socket
from qrsocket.server import SocketRouter

router = SocketRouter("/socket")


@router.on_connect
async def on_connect(query: dict[str, str]) -> User:
    if "topic" in query:
        await socket.join(query["topic"])
    return User(query["user"])


app = FastAPI()
app.include_router(router)


def sender(_: str) -> Send:
    from qrsocket.sync import socket as blocking

    topic = blocking.topic(TOPIC)

    def send(to: Target, message: dict[str, object]) -> object:
        return topic.send(message) if to is None else blocking.to(to).send(message)

    return send
