"""What stands before a served application: test clients enter as the user that they name, all others pass."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from secrets import compare_digest, token_hex
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

from qrsocket.context import authenticated
from qrsocket.users import User, user_id

Scope: TypeAlias = MutableMapping[str, Any]
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

HEADER = "x-qrsocket-testing"


class UserMiddleware:
    """
    An ASGI middleware. The application does not see the header that names the user.

    Attributes:
        failure: What the application's lifespan has raised.
        lifespan: The task that runs it.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._secret = token_hex(16)  # who knows it may be anybody, and the port is open to all of this machine
        self.failure: BaseException | None = None
        self.lifespan: asyncio.Task[Any] | None = None

    def header_of(self, user: str) -> dict[str, str]:
        """Return the header that a client of *user* sends from now on: it is issued now, and stays as it is."""
        return {HEADER: f"{self._secret} {time.time()} {quote(user, safe='')}"}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        user = self._take_user(scope)
        if user is not None:
            await authenticated(user)
        # `receive` as it came: qrsocket finds uvicorn's connection behind it.
        await self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Any, send: Any) -> None:
        self.lifespan = asyncio.current_task()
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            self.failure = error
            raise

    def _take_user(self, scope: Scope) -> User | None:
        user = None
        others = []
        for name, value in scope["headers"]:
            if name != HEADER.encode():
                others.append((name, value))
                continue
            secret, _, proof = value.decode("latin-1").partition(" ")
            if compare_digest(secret.encode(), self._secret.encode()):
                issued_at, quoted = proof.split(" ")
                user = User(user_id(unquote(quoted)), issued_at=float(issued_at))
        # In place: uvicorn logs from this very scope, and qrsocket hides the query from it there.
        scope["headers"] = others
        return user
