"""The application of a fault run: it answers requests, and writes down when its hooks run."""

import asyncio
import random
from typing import Any

from fastapi import FastAPI

from qrsocket import User, socket
from qrsocket.server import SocketRouter
from qrsocket.settings import get_settings
from tests.faults.conditions import apply_mutation, end_with_driver, folder
from tests.faults.history import Recorder

end_with_driver()
apply_mutation()

NODE = get_settings().node_name

recorder = Recorder(folder(), NODE)
router = SocketRouter("/socket")


@router.on_connect
async def on_connect(query: dict[str, str]) -> User:
    return User(query["user"])


@router.on_message
async def on_message(data: dict[str, str]) -> None:
    """Answer, on all devices of the sender; those that did not ask take no notice."""
    await socket.send({"answer": data["request"]})


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
        # What a hook does takes its time. Some take long enough for a second edge, or a fault, to come meanwhile.
        await asyncio.sleep(0.3 if random.random() < 0.1 else random.uniform(0, 0.05))
    finally:  # it is cancelled when its time is over, while its node was frozen, say
        recorder.record("hooked", **fields)


app = FastAPI()
app.include_router(router)


@app.get("/online")
async def online() -> list[str]:
    """Who is online, as Redis says."""
    return sorted(await socket.online())


@app.get("/tasks")
async def tasks() -> dict[str, Any]:
    """How many asyncio tasks there are, by the first word of their names."""
    return {"tasks": len(asyncio.all_tasks())}
