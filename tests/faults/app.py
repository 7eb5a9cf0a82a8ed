"""The application of a fault run: it answers requests, lets anybody join, and writes down when its hooks run."""

import asyncio
import random
from typing import Any

from fastapi import FastAPI

from qrsocket import SocketError, Unavailable, User, clients, socket
from qrsocket.jobs.table import Jobs
from qrsocket.keys import Keyspace
from qrsocket.roundtrip import arun
from qrsocket.server import SocketRouter
from qrsocket.settings import get_settings
from qrsocket.streams import of_user
from tests.faults.conditions import HANDLER_TIMEOUT, ROOMS, WATCHERS, apply_mutation, end_with_driver, folder
from tests.faults.history import Recorder
from tests.faults.messages import payload

end_with_driver()
apply_mutation()

NODE = get_settings().node_name

recorder = Recorder(folder(), NODE)
router = SocketRouter("/socket")


@router.on_connect
async def on_connect(query: dict[str, str]) -> User:
    for topic in query.get("feeds", "").split():
        await socket.join(topic)
    return User(query["user"])


@router.on_join("room:{number}", members=True)
async def may_join_room(number: int) -> None:
    """Anybody may."""


@router.on_join("feed:{number}")
async def may_read_feed(number: int) -> None:
    """Anybody may."""


@router.on_message
async def on_message(data: dict[str, str], user: User) -> object:
    """Do what is asked. How each of it must be answered is in asking.py."""
    answer = {"answer": data["request"]}
    match data["do"]:
        case "tell":  # all devices of the sender; those that did not ask take no notice
            await socket.send(answer)
        case "nothing":
            return None
        case "reply":
            await socket.reply(answer)
            return None
        case "slow":
            await asyncio.sleep(random.uniform(0.2, HANDLER_TIMEOUT - 1))
        case "late":
            await asyncio.sleep(HANDLER_TIMEOUT + 1)
        case "fail":
            raise SocketError("no")
        case "crash":
            raise ValueError("no")
        case "others":
            await _tell_others(data, user)
    return answer


async def _tell_others(data: dict[str, str], user: User) -> None:
    """Send to all but the connection that asks: to a topic, or to its user."""
    sender, topic = data["request"], data["topic"]
    id, to = f"{sender}-others", [topic or user.id]
    recorder.record("send", sender=sender, n=1, id=id, to=to, kept=True, but=data["session"])
    others = socket.topic(topic).others if topic else socket.others
    try:
        delivery = await others.send(payload(id, sender, 1, to, pad_bytes=50), message_id=id)
    except Unavailable as error:
        recorder.record("unknown", id=id, cause=error.cause)
        raise
    recorder.record("sent", id=id, connections=delivery.connections)


@router.on_online
async def on_online(user_id: str, event_id: str, attempt: int) -> None:
    await _record_hook("online", user_id, event_id, attempt)


@router.on_offline
async def on_offline(user_id: str, event_id: str, attempt: int) -> None:
    await _record_hook("offline", user_id, event_id, attempt)


async def _record_hook(kind: str, user: str, event: str, attempt: int) -> None:
    fields = {"node": NODE, "user": user, "event": event, "kind": kind, "attempt": attempt}
    recorder.record("hook", **fields)
    try:
        # What a hook does takes its time. Some take long enough for a second transition, or a fault, to come meanwhile.
        await asyncio.sleep(0.3 if random.random() < 0.1 else random.uniform(0, 0.05))
    finally:  # it is cancelled when its time is over, while its node was frozen, say
        recorder.record("hooked", **fields)


app = FastAPI()
app.include_router(router)


@app.get("/online")
async def online() -> list[str]:
    """Who is online, as Redis says."""
    return sorted(await socket.online())


@app.get("/members")
async def members() -> dict[str, tuple[list[str], int]]:
    """Who has joined each room, and how many connections, as Redis says."""
    topics = {name: socket.topic(name) for name in ROOMS}
    return {name: (sorted(await topic.members()), await topic.count()) for name, topic in topics.items()}


@app.get("/jobs")
async def jobs() -> dict[str, list[dict[str, Any]]]:
    """The jobs of those who watch some, as Redis says."""
    settings = get_settings()
    listed = {}
    for user in WATCHERS:
        stream = of_user(user)
        call = Jobs(Keyspace.of(settings).of_stream(stream), settings).listed(stream)
        listed[user] = await arun(clients.awaiting(settings), call, timeout=settings.redis_timeout)
    return listed


@app.get("/tasks")
async def tasks() -> dict[str, Any]:
    """How many asyncio tasks there are, by the first word of their names."""
    return {"tasks": len(asyncio.all_tasks())}
