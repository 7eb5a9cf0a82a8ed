"""A function of the application, called with what it asks for: ours by name, and the rest from FastAPI."""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

import anyio.to_thread
from fastapi.exceptions import FastAPIError
from starlette.requests import HTTPConnection, Request
from starlette.types import Message as Event
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketState

from qrsocket.errors import SocketError
from qrsocket.internals.fastapi import Dependant, dependant_of, solve
from qrsocket.server.annotations import is_of_fastapi, named, typed_parameters, unaliased


@dataclass(frozen=True, slots=True)
class Kind:
    """
    A kind of handler.

    Attributes:
        name: What it is registered with.
        ours: The parameters that it gets from us, by name.
        has_connection: Whether there is a connection that FastAPI can read path, query, headers and cookies from.
    """

    name: str
    ours: frozenset[str]
    has_connection: bool = True


class Function:
    """
    A handler or hook of the application.

    A parameter with one of our names is ours, unless FastAPI says what it is: a marker (`Depends`, `Security`, `Query`,
    `Header`, `Cookie`, `Path`) or a type (`Request`, `WebSocket`, `HTTPConnection`, `SecurityScopes`). All others
    FastAPI solves for each call, and closes when the call ends.
    """

    def __init__(self, call: Callable[..., Any], kind: Kind) -> None:
        """
        Raises:
            TypeError: The function asks for something that neither we nor FastAPI can give.
        """
        self.call, self._kind = call, kind
        self.name = getattr(call, "__qualname__", repr(call))
        parameters = named(typed_parameters(call, self.name), self.name)
        of_fastapi = {name for name, part in parameters.items() if is_of_fastapi(part, self.name)}
        # What a `type` statement names, FastAPI has not always looked into.
        parameters |= {name: unaliased(parameters[name]) for name in of_fastapi}
        self.parameters = {name: parameters[name] for name in parameters if name in kind.ours - of_fastapi}
        self._is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
            getattr(call, "__call__", None)  # noqa: B004 - an object with an async __call__
        )
        self._others = [part for name, part in parameters.items() if name not in self.parameters]
        self._reads_as: type[Request] | type[WebSocket] = Request
        self._dependant = lru_cache(self._dependant_below)
        if self._others:
            try:
                self._reads_as = _checked(self._dependant(()), self.name, kind)
            except (FastAPIError, AssertionError) as error:  # a type that it reads from nowhere, say
                raise TypeError(f"{self.name} asks for something that FastAPI cannot give: {error}") from error

    async def __call__(self, ours: Mapping[str, Any], connection: HTTPConnection) -> Any:
        """
        Call it and wait; a plain `def` runs in a thread.

        Args:
            ours: Values of our parameters, by name.
            connection: What FastAPI reads path, query, headers and cookies from.
        """
        values = {name: ours[name] for name in self.parameters}
        if not self._others:
            return await self._run(values)
        async with AsyncExitStack() as stack:
            return await self._run(values | await self._solved(connection, stack))

    async def _run(self, values: dict[str, Any]) -> Any:
        if self._is_async:
            return await self.call(**values)
        # A thread cannot be stopped. When the time is over we no longer wait for it, but it keeps its place among the
        # 40 that anyio runs at once, so that a handler that hangs does not make threads without end.
        running = asyncio.ensure_future(
            anyio.to_thread.run_sync(lambda: self.call(**values), abandon_on_cancel=True),
        )
        return await asyncio.shield(running)

    def _dependant_below(self, path_parameters: tuple[str, ...]) -> Dependant:
        """
        Args:
            path_parameters: Of the route, which are known when it is asked for: `include_router(prefix=…)` adds some.
        """

        def others(**_values: Any) -> None: ...

        keyword_only = [part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in self._others]
        others.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
        return dependant_of(others, "".join(f"/{{{name}}}" for name in path_parameters))

    async def _solved(self, connection: HTTPConnection, stack: AsyncExitStack) -> dict[str, Any]:
        # In a scope of its own: with the connection's, what is opened for it would be closed with the socket.
        dependant = self._dependant(tuple(sorted(connection.path_params)))
        values, errors = await solve(dependant, _readable(connection.scope, self._reads_as), stack)
        if errors:
            wrong = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in errors)
            raise SocketError(f"Invalid request: {wrong}")
        return values


def _checked(dependant: Dependant, name: str, kind: Kind) -> type[Request] | type[WebSocket]:
    """
    Return as what the function and its dependencies read the connection.

    Raises:
        TypeError: They ask for something that there is not.
    """

    def refuse(what: str, advice: str) -> NoReturn:
        raise TypeError(f"{name} asks for {what}: {advice}")

    may_ask_for = f"it may ask for {', '.join(sorted(kind.ours))} without a marker of FastAPI's, or use Depends"
    wanted: set[type[Request] | type[WebSocket]] = set()
    for part in _tree(dependant):
        if part.body_params:
            names = ", ".join(field.name for field in part.body_params)
            refuse(names, f"{may_ask_for}. {kind.name} has no body for FastAPI to read")
        if part.response_param_name:
            refuse("a Response", "there is no HTTP response here, and what is set on it would be lost")
        if part.background_tasks_param_name:
            refuse("BackgroundTasks", "nothing runs them here. Await what is to be done, or queue a task")
        if not kind.has_connection and (reads := _reads_of(part)):
            refuse(", ".join(reads), f"{may_ask_for}. {kind.name} has no connection for FastAPI to read")
        wanted |= {Request} if part.request_param_name else set()
        wanted |= {WebSocket} if part.websocket_param_name else set()
    if len(wanted) > 1:
        refuse(
            "both a Request and a WebSocket", "take one of them, or starlette.requests.HTTPConnection in both places"
        )
    return wanted.pop() if wanted else Request


def _tree(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for part in dependant.dependencies:
        yield from _tree(part)


def _reads_of(dependant: Dependant) -> list[str]:
    fields = (dependant.path_params, dependant.query_params, dependant.header_params, dependant.cookie_params)
    names = [field.name for part in fields for field in part]
    by_type = (dependant.request_param_name, dependant.websocket_param_name, dependant.http_connection_param_name)
    return [*names, *filter(None, by_type)]


def _readable(scope: Scope, kind: type[Request] | type[WebSocket]) -> Request | WebSocket:
    """Return a connection to read from, and nothing else: sending and receiving are ours."""
    if kind is Request:
        return Request({**scope, "type": "http", "method": scope.get("method", "GET")}, _receive_nothing)
    websocket = WebSocket({**scope, "type": "websocket"}, _refuse, _refuse)
    websocket.client_state = websocket.application_state = WebSocketState.CONNECTED
    return websocket


async def _receive_nothing() -> Event:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _refuse(*_event: Any) -> NoReturn:
    raise RuntimeError("this WebSocket is for reading the handshake: receive in on_message, send with `socket`")
