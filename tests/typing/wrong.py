"""Mistakes that both type checkers find: each line with the mark, and no other. For test_typing.py, never run."""

from typing import TypedDict

from qrsocket import Delivery, Socket, socket
from qrsocket.sync import Socket as BlockingSocket
from qrsocket.sync import socket as blocking


class ProfileUpdate(TypedDict):
    name: str


profiles: Socket[ProfileUpdate] = Socket()
blocking_profiles: BlockingSocket[ProfileUpdate] = BlockingSocket()


async def forgets_await() -> Delivery:
    socket.send("hi")  # wrong
    socket.to("alice").send("hi")  # wrong
    socket.close()  # wrong
    socket.to("alice").close()  # wrong
    delivery = socket.send("hi")
    print(delivery.connections)  # wrong
    online: bool = socket.is_online("alice")  # wrong
    for user in socket.online():  # wrong
        print(user, online)
    return socket.send("hi")  # wrong


async def awaits_the_blocking_one() -> None:
    await blocking.send("hi")  # wrong
    await blocking.to("alice").send("hi")  # wrong
    await blocking.close()  # wrong
    await blocking.is_online("alice")  # wrong
    await blocking.online()  # wrong


def task_without_await() -> Delivery:
    socket.send("hi")  # wrong
    socket.to("alice").send("hi")  # wrong
    if socket.to("alice").send("hi").connections:  # wrong
        pass
    return socket.send("hi")  # wrong


async def sends_another_type() -> None:
    await profiles.send("Ada")  # wrong
    await profiles.send({"nmae": "Ada"})  # wrong
    await profiles.send({"name": 1})  # wrong
    await profiles.to("alice").send({"name": None})  # wrong
    await profiles.send(["Ada"])  # wrong
    await profiles.topic("room:7").send("Ada")  # wrong
    await profiles.topic("room:7").others.send({"name": 1})  # wrong
    await profiles.everyone.send("Ada")  # wrong
    await profiles.others.send({})  # wrong
    await profiles.reply(7)  # wrong
    await socket.topic(7).send("hi")  # wrong
    socket.topic("room:7").send("hi")  # wrong
    socket.join("room:7")  # wrong


def sends_another_type_blocking() -> None:
    blocking_profiles.send("Ada")  # wrong
    blocking_profiles.to("alice").send({})  # wrong


async def names_messages_wrongly() -> None:
    await socket.send("hi", message_id=7)  # wrong
    await socket.to("alice").send("hi", "m1")  # wrong
    await socket.to("alice").send("hi", wait="5")  # wrong
    await socket.close(wait=5)  # wrong


def names_messages_wrongly_blocking() -> None:
    blocking.send("hi", message_id=b"m1")  # wrong
    blocking.to("alice").send("hi", "m1")  # wrong
    blocking.to("alice").close(message_id="m1")  # wrong


def names_nobody() -> None:
    blocking.to(1.5)  # wrong
    blocking.to(None)  # wrong
    blocking.to([object()])  # wrong
    blocking.is_online(["alice"])  # wrong


def needs_any(sender: Socket[object]) -> None:
    """A socket that takes one type may not stand for one that takes any."""


needs_any(profiles)  # wrong
