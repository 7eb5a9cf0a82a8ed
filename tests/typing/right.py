"""Uses that both type checkers take. For test_typing.py, never run."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict
from uuid import UUID

from pydantic import BaseModel

from qrsocket import Delivery, Socket, User, authenticated, socket
from qrsocket.sync import Socket as BlockingSocket
from qrsocket.sync import socket as blocking


class ProfileUpdate(TypedDict):
    name: str


class Progress(BaseModel):
    done: int


@dataclass
class Row:
    id: UUID


profiles: Socket[ProfileUpdate] = Socket()
blocking_profiles = BlockingSocket[ProfileUpdate]()
either: Socket[Progress | str] = Socket()


async def awaits(row: Row, anything: Any) -> Delivery:
    delivery = await socket.send({"any": "thing"})
    connections: int = delivery.connections
    await socket.send(anything)
    await socket.send(b"bytes", message_id="m1", wait=5)
    await socket.to(7).send("hi", message_id=f"order-{connections}-shipped", wait=0.5)
    await socket.to("alice").send(Progress(done=connections))
    await socket.to([1, "two", UUID(int=3), row, User("four")]).send("hi")
    await socket.to(number for number in range(3)).close(4101, "revoked")
    await socket.close()
    await socket.topic("room:7").send(Progress(done=1), keep=False)
    await socket.topic("room:7").others.send("hi", latest="cursor", message_id="m1", wait=1)
    await socket.everyone.send({"any": "thing"}, keep=True)
    await socket.others.send(anything)
    await socket.reply({"any": "thing"})
    await socket.join("room:7")
    await socket.leave("room:7")
    joined: Delivery = await socket.to([1, "two"]).join("room:7")
    members: set[str] = await socket.topic("room:7").members()
    count: int = await socket.topic("room:7").count()
    await profiles.topic("room:7").send({"name": "Ada"})
    print(joined.repeated, members, count, User("ada", expires_at=1.5), User("ada", datetime.now(UTC)))
    online: bool = await socket.is_online(row)
    ids: set[str] = await socket.online()
    user: User = await authenticated(row)
    task: asyncio.Task[Delivery] = asyncio.create_task(socket.send("hi"))
    first, second = await asyncio.gather(socket.is_online("a"), socket.to("b").send("hi"))
    both: tuple[bool, Delivery] = (first, second)
    print(online, ids, user, both)
    return await asyncio.wait_for(task, timeout=1)


def blocks(row: Row) -> Delivery:
    blocking.to([row, "alice"]).send({"any": "thing"})
    blocking.send("hi", message_id=None, wait=None)
    repeated: Delivery = blocking.to(7).send("hi", message_id="m1", wait=0.5)
    blocking.close()
    blocking.reply("hi")
    blocking.join("room:7")
    blocking.to("alice").leave("room:7")
    blocking.topic("room:7").others.send("hi", latest="cursor")
    blocking.everyone.send("hi", keep=True)
    members: set[str] = blocking.topic("room:7").members()
    count: int = blocking.topic("room:7").count()
    print(members, count)
    online: bool = blocking.is_online(row)
    ids: set[str] = blocking.online(["alice", 2])
    print(online, ids, repeated)
    return blocking.send("hi")


async def of_one_type() -> None:
    await profiles.send({"name": "Ada"})
    await profiles.to(1).send(ProfileUpdate(name="Ada"))
    await either.send(Progress(done=1))
    await either.send("done")


def of_one_type_blocking() -> None:
    blocking_profiles.send({"name": "Ada"})
    blocking_profiles.to(1).send(ProfileUpdate(name="Ada"))


def needs_less(sender: Socket[ProfileUpdate]) -> None:
    """A socket that takes any message may stand for one that takes some."""


needs_less(socket)
needs_less(Socket[object]())
