"""
FastAPI's dependencies, solved for a function that is no endpoint; its routes; what it puts around an endpoint; and what
Starlette's WebSocket reads from.

Between 0.115 and 0.165 each of them has changed: https://fastapi.tiangolo.com/release-notes/
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from inspect import signature
from typing import Any

from fastapi import routing
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant, get_typed_signature, solve_dependencies
from starlette.requests import Request
from starlette.websockets import WebSocket

from qrsocket.internals import refuse, require

# Where it keeps what is to be closed when the endpoint has returned, in the scope of the connection; and uploads.
STACKS = ("fastapi_inner_astack", "fastapi_function_astack")
EMPTY_FOR_WEBSOCKETS = "fastapi_middleware_astack"

_PARAMS = ("path_params", "query_params", "header_params", "cookie_params", "body_params", "dependencies")
_NAMES = ("request", "websocket", "http_connection", "response", "background_tasks")
require("fastapi", Dependant, *_PARAMS, *(f"{name}_param_name" for name in _NAMES))
require("starlette", WebSocket, "_receive")
for _function, _wanted in (
    (get_dependant, {"path", "call"}),
    (solve_dependencies, {"request", "dependant", "dependency_overrides_provider", "async_exit_stack"}),
):
    if _lacking := _wanted - signature(_function).parameters.keys():
        refuse("fastapi", f"{_function.__name__} takes no {', '.join(sorted(_lacking))}")

__all__ = [
    "EMPTY_FOR_WEBSOCKETS",
    "STACKS",
    "Dependant",
    "dependant_of",
    "has_nothing_to_close",
    "receive_of",
    "routes_of",
    "solve",
    "typed_signature",
]

typed_signature = get_typed_signature


def dependant_of(call: Callable[..., Any], path: str) -> Dependant:
    """Return what *call*, an endpoint of *path*, asks for."""
    return get_dependant(path=path, call=call)


async def solve(
    dependant: Dependant, connection: Request | WebSocket, stack: AsyncExitStack
) -> tuple[dict[str, Any], list[Any]]:
    """Return the values that *dependant* asks for, and the errors. What is opened for them is closed with *stack*."""
    connection.scope.update(dict.fromkeys(STACKS, stack))
    solved = await solve_dependencies(
        request=connection,
        dependant=dependant,
        dependency_overrides_provider=connection.scope.get("app"),
        async_exit_stack=stack,
        embed_body_fields=False,
    )
    return solved.values, solved.errors


def has_nothing_to_close(scope: Mapping[str, Any]) -> bool:
    """Whether nothing is to be closed, or called, when the endpoint of this connection has returned."""
    stacks = [scope.get(name) for name in STACKS]
    return all(isinstance(one, AsyncExitStack) and not getattr(one, "_exit_callbacks", True) for one in stacks)


def receive_of(websocket: WebSocket) -> Callable[..., Any]:
    """Return what *websocket* reads from: ASGI hands out nothing else that leads to the transport."""
    return websocket._receive


def routes_of(routes: Iterable[Any]) -> Iterator[Any]:
    """Yield *routes* with those of included routers, as objects with `path`, `name`, `methods` and `endpoint`."""
    contexts = getattr(routing, "iter_route_contexts", None)  # before, routers were included as they are now
    yield from contexts(list(routes)) if contexts else routes
