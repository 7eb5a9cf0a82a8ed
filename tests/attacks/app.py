"""What is attacked: a named user by query or token, strangers with a first message, topics, jobs, and other routes."""

import asyncio
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response, WebSocket

from qrsocket import User, socket
from qrsocket.server import SocketRouter

app = FastAPI()
router = SocketRouter("/socket")
strangers = SocketRouter("/strangers")


@router.on_connect
async def on_connect(query: dict[str, str]) -> User | None:
    return User(query["user"]) if "user" in query else None


@router.on_join("room:{name}", members=True)
async def on_join(name: str) -> None: ...


@router.on_message
async def on_message(data: Any) -> None:
    await socket.reply({"echo": data})


@router.on_message(type="binary")
async def on_binary(data: bytes) -> None:
    await socket.reply(len(data))


@strangers.authenticate
async def authenticate(data: Any) -> User | None:
    if data == "wrong":
        raise HTTPException(401, "Unknown token")
    return User(data)


async def hang() -> None:
    await asyncio.sleep(3600)


class Upload:
    """As much of a Celery task as an endpoint needs: it is queued nowhere."""

    name = "attacks.upload"

    @staticmethod
    def run(file: bytes) -> None: ...

    def apply_async(self, args: Any = None, kwargs: Any = None, task_id: str | None = None) -> Any: ...


router.add_job("/upload", Upload())
hanging = SocketRouter("/hanging", dependencies=[Depends(hang)])
for one in (router, strangers, hanging):
    app.include_router(one)


@app.websocket("/other")
async def other(websocket: WebSocket) -> None:
    """A WebSocket that is not ours."""
    await websocket.accept()
    while (event := await websocket.receive())["type"] == "websocket.receive":
        await websocket.send_text(str(len(event.get("text") or event.get("bytes") or "")))


@app.get("/large")
async def large() -> Response:
    return Response(bytes(1_000_000))


@app.api_route("/echo", methods=["GET", "POST"])
async def echo(request: Request) -> Response:
    return Response(str(len(await request.body())))
