"""A function of the application, called with what it asks for by name."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import anyio.to_thread
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant, get_typed_signature, solve_dependencies
from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket

from qrsocket.errors import SocketError


class Function:
    """
    A handler or hook of the application.

    It gets what is ours by name; what else it asks for (`Depends`, path, query, header, cookie) FastAPI solves, and
    closes when the call ends.
    """

    def __init__(self, call: Callable[..., Any], ours: frozenset[str], *, path: str) -> None:
        """
        Args:
            ours: Names of the parameters that `__call__` will be given.
            path: The route's, whose parameters the function may ask for.

        Raises:
            TypeError: The function asks for something that neither we nor FastAPI can give.
        """
        self.call = call
        self.name = getattr(call, "__qualname__", repr(call))
        signature = get_typed_signature(call)
        self.parameters = {name: part for name, part in signature.parameters.items() if name in ours}
        self._is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
            getattr(call, "__call__", None)  # noqa: B004 - an object with an async __call__
        )
        others = [part for name, part in signature.parameters.items() if name not in ours]
        self._dependant = _solved_by_fastapi(others, path) if others else None
        if self._dependant is not None and self._dependant.body_params:
            wanted = ", ".join(field.name for field in self._dependant.body_params)
            raise TypeError(f"{self.name} asks for {wanted}: it may ask for {', '.join(sorted(ours))}, or use Depends")

    async def __call__(self, ours: Mapping[str, Any], connection: HTTPConnection | None = None) -> Any:
        """
        Call it and wait; a plain `def` runs in a thread.

        Args:
            ours: Values of our parameters, by name.
            connection: What FastAPI reads path, query, headers and cookies from.
        """
        values = {name: ours[name] for name in self.parameters}
        if self._dependant is None or connection is None:
            return await self._run(values)
        async with AsyncExitStack() as stack:
            solved = await _solve(self._dependant, connection, stack)
            return await self._run(values | solved)

    async def _run(self, values: dict[str, Any]) -> Any:
        if self._is_async:
            return await self.call(**values)
        # A thread cannot be stopped. When the time is over we no longer wait for it, but it keeps its place among the
        # 40 that anyio runs at once, so that a handler that hangs does not make threads without end.
        running = asyncio.ensure_future(
            anyio.to_thread.run_sync(lambda: self.call(**values), abandon_on_cancel=True),
        )
        return await asyncio.shield(running)


def _solved_by_fastapi(parameters: list[inspect.Parameter], path: str) -> Dependant:
    def others(**_values: Any) -> None: ...

    keyword_only = [part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in parameters]
    others.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    return get_dependant(path=path, call=others)


async def _solve(dependant: Dependant, connection: HTTPConnection, stack: AsyncExitStack) -> dict[str, Any]:
    # FastAPI closes what it opened with the stacks in the scope. The connection's own would keep it until the socket
    # closes, so each call gets a scope of its own.
    scope = {**connection.scope, "fastapi_inner_astack": stack, "fastapi_function_astack": stack}
    request: Request | WebSocket
    if isinstance(connection, WebSocket):
        request = WebSocket(scope, connection.receive, connection.send)
    else:
        request = Request(scope)
    solved = await solve_dependencies(
        request=request,
        dependant=dependant,
        dependency_overrides_provider=scope.get("app"),
        async_exit_stack=stack,
        embed_body_fields=False,
    )
    if solved.errors:
        wrong = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in solved.errors)
        raise SocketError(f"Invalid request: {wrong}")
    return solved.values
