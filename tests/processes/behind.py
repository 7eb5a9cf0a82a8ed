"""An application behind a proxy: it says what it has been told of its client."""

import asyncio
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from starlette.requests import HTTPConnection

from qrsocket import User, socket
from qrsocket.server import SocketRouter

app, router = FastAPI(), SocketRouter("/socket")


def seen(connection: HTTPConnection) -> dict[str, Any]:
    client = connection.client and connection.client.host
    return {"client": client, "scheme": connection.url.scheme, "headers": dict(connection.headers)}


@router.on_connect
async def on_connect(client: str | None) -> User:
    return User(f"of {client}")


@router.on_message
async def on_message(data: float, user: User, seen: Annotated[dict[str, Any], Depends(seen)]) -> None:
    await asyncio.sleep(data)
    await socket.send({"user": user.id, **seen})


@app.get("/seen")
async def what_is_seen(seen: Annotated[dict[str, Any], Depends(seen)]) -> dict[str, Any]:
    return seen


@app.post("/bytes")
async def count_bytes(request: Request) -> int:
    print("a body begins")
    return sum([len(piece) async for piece in request.stream()])


app.include_router(router)
