"""The applications that these tests test, as authors of applications would."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from qrsocket import User, socket
from qrsocket.server import SocketRouter


def echo() -> FastAPI:
    """It sends to its user what it gets, and lets nobody in by itself."""
    app = FastAPI()
    router = SocketRouter("/live")

    @router.on_connect
    async def on_connect() -> User | None:
        raise HTTPException(401, "sign in first")

    @router.authenticate
    async def authenticate(data: Any) -> User | None:
        raise HTTPException(401, "sign in first")

    @router.on_message
    async def on_message(data: Any) -> None:
        await socket.send(data)

    @router.on_message(type="binary")
    async def on_binary(data: bytes) -> None:
        await socket.send(data[::-1])

    @app.get("/send")
    async def send(request: Request) -> list[str]:
        await socket.send({"over": "http"})
        return sorted(request.headers)

    app.include_router(router, prefix="/v1")
    return app


def signs_in() -> FastAPI:
    """It lets in who has the cookie, or says the token first, and tells everyone what it saw of them."""
    app = FastAPI()
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect(request: Request, cookies: dict[str, str], query: dict[str, str]) -> User | None:
        if query.get("blocked"):
            raise HTTPException(403, "blocked")
        app.state.seen = dict(request.headers)
        return User(cookies["session"]) if "session" in cookies else None

    @router.authenticate
    async def authenticate(data: Any) -> User | None:
        if data != {"token": "alice's"}:
            raise HTTPException(401, "unknown token")
        return User("alice")

    app.include_router(router)
    return app


def anonymous() -> FastAPI:
    """It answers each connection, and knows no user."""
    app = FastAPI()
    router = SocketRouter()

    @router.on_message
    async def on_message(data: Any) -> None:
        if data == "close":
            await socket.close(4101, "revoked")
        else:
            await socket.send(data)

    app.include_router(router)
    return app


def with_lifespan(seen: list[str], *, fails: str = "") -> FastAPI:
    """It notes when it begins and ends, and fails then if it is told so."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        seen.append("begin")
        if fails == "begin":
            raise OSError("no database")
        yield
        seen.append("end")
        if fails == "end":
            raise OSError("database gone")

    app = FastAPI(lifespan=lifespan)
    app.include_router(SocketRouter("/socket"))
    return app
