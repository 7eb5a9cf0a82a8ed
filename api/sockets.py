"""What goes over the socket: who is online, and the chat. Of jobs the library tells, and summaries the worker."""

from typing import Annotated, Literal, TypeAlias

from annotated_types import Len
from fastapi import HTTPException
from pydantic import BaseModel, Field, StringConstraints

from api.auth import Name, name_in
from qrsocket import SocketError, User, socket
from qrsocket.server import SocketRouter

router = SocketRouter("/socket")


class Look(BaseModel):
    """Asks who is online. A page sends it when it has connected."""

    do: Literal["look"]


class Say(BaseModel):
    do: Literal["say"]
    to: Annotated[set[Name], Len(1, 50)]
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


Message: TypeAlias = Annotated[Look | Say, Field(discriminator="do")]


@router.on_connect
async def on_connect(cookies: dict[str, str]) -> User:
    name = name_in(cookies)
    if name is None:
        raise HTTPException(401, "Sign in first.")
    return User(name)


@router.on_message
async def on_message(data: Message, user: User) -> None:
    if isinstance(data, Look):
        await socket.send({"online": sorted(await socket.online())})
    else:
        await _say(data, user)


@router.on_online
async def on_online(user_id: str) -> None:
    await _tell_everyone({"came": user_id})


@router.on_offline
async def on_offline(user_id: str) -> None:
    await _tell_everyone({"left": user_id})


async def _say(data: Say, user: User) -> None:
    others = data.to - {user.id}
    if not await socket.online(others):
        raise SocketError("None of them is online any more.")
    message = {"from": user.id, "to": sorted(others), "text": data.text}
    await socket.to(others | {user.id}).send({"chat": message})  # the sender's own devices show it, too


async def _tell_everyone(message: dict[str, str]) -> None:
    everyone = await socket.online()
    if everyone:
        await socket.to(everyone).send(message)
