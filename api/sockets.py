"""What goes over the socket: the room, who is in it, and what is said there. Of jobs the library tells."""

import asyncio
import os
import time
from secrets import compare_digest
from typing import Annotated, Literal, TypeAlias

from fastapi import Depends, Header, HTTPException
from pydantic import BaseModel, Field, StringConstraints

from api.auth import name_in
from qrsocket import SocketError, User, socket
from qrsocket.server import SocketRouter
from worker.chat import BOT, MAX_TEXT, ROOM, Said, keep, last
from worker.tasks import answer

router = SocketRouter("/socket")

if METRICS_TOKEN := os.environ.get("METRICS_TOKEN"):

    def only_prometheus(authorization: str = Header("")) -> None:
        if not compare_digest(authorization.encode(), f"Bearer {METRICS_TOKEN}".encode()):
            raise HTTPException(401)

    router.add_metrics(dependencies=[Depends(only_prometheus)])


class History(BaseModel):
    """Asks for what was said last."""

    do: Literal["history"]


class Say(BaseModel):
    """
    Attributes:
        key: Chosen by the page, so that what it says again, when nobody knows what became of it, is said once.
    """

    do: Literal["say"]
    key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT)]


class Typing(BaseModel):
    do: Literal["typing"]


Message: TypeAlias = Annotated[History | Say | Typing, Field(discriminator="do")]


@router.on_connect
async def on_connect(cookies: dict[str, str]) -> User:
    name = name_in(cookies)
    if name is None:
        raise HTTPException(401, "Sign in first.")
    return User(name)


@router.on_join("room:{name}", members=True)
async def may_join(topic: str) -> None:
    """Let everybody into the only room: who is connected has signed in."""
    if topic != ROOM:
        raise SocketError("There is no such room.")


@router.on_message
async def on_message(data: Message, user: User, connection: str) -> Said | list[Said] | None:
    """Do what a page asks for. What is returned is the answer to its `socket.request(...)`."""
    match data:
        case History():
            return await asyncio.to_thread(last)
        case Say():
            return await _say(data, user)
        case Typing():
            # By the connection, since a name may have spaces and letters that `latest` may not.
            await socket.topic(ROOM).others.send({"typing": user.id}, latest=f"typing:{connection}")
    return None


async def _say(say: Say, user: User) -> Said:
    said = await asyncio.to_thread(keep, user.id, say.key, say.text, time.time())
    if said.text.lower().startswith(BOT):
        # In a thread, since it blocks. Under this id it is one job, also where it is asked again.
        job_id = f"answer-{said.id}-{said.at:.0f}"
        await asyncio.to_thread(answer.apply_async, (said.text,), task_id=job_id)
    await socket.topic(ROOM).send({"said": said}, message_id=f"said {say.key}")
    return said
