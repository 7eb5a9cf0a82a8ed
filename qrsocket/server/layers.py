"""
Leaving the layers that FastAPI puts around an endpoint: fourteen coroutines and 12 KiB that each connection would hold
until it is closed. That is done only where nobody in them waits for its end: neither a middleware or tracer, wherever
it was put, nor a dependency with a `yield`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastapi
import starlette
from starlette.applications import Starlette
from starlette.websockets import WebSocket

from qrsocket.internals.fastapi import EMPTY_FOR_WEBSOCKETS, STACKS, has_nothing_to_close
from qrsocket.server.finding import protocol_of

if TYPE_CHECKING:
    from qrsocket.server.protocol import Serve

FRAMEWORK = tuple(str(Path(str(package.__file__)).parent) for package in (fastapi, starlette))
PACKAGES = ("fastapi", "starlette", "qrsocket")


async def serve_outside(websocket: WebSocket, serve: "Serve", abandon: Callable[[], None]) -> None:
    """
    Serve *websocket*: when the application has returned, where that may be, else now. Call it last.

    Args:
        abandon: Called instead, if the application fails before.
    """
    protocol = protocol_of(websocket)
    app = websocket.scope.get("app")
    may_leave = protocol is not None and protocol.application is app and _nobody_waits(websocket, app)
    if protocol is None or not may_leave or not protocol.outlive(serve, abandon):
        await serve()
        return
    for name in (*STACKS, EMPTY_FOR_WEBSOCKETS):
        websocket.scope.pop(name, None)  # 760 bytes each


def _nobody_waits(websocket: WebSocket, app: Any) -> bool:
    is_mounted = "app_root_path" in websocket.scope  # with middlewares of its own, perhaps
    is_closed = has_nothing_to_close(websocket.scope)
    return is_closed and not is_mounted and not getattr(app, "user_middleware", True) and _is_untouched(app)


def _is_untouched(app: Any) -> bool:
    """Whether nothing but FastAPI's own, and ours, is called on the way to the router: tracers patch themselves in."""
    if not all(map(_is_of_framework, (type(app).__call__, Starlette.__call__))):
        return False
    layer = app.middleware_stack
    while layer is not app.router:
        if type(layer).__module__.partition(".")[0] not in PACKAGES or not hasattr(layer, "app"):
            return False
        layer = layer.app
    return True


def _is_of_framework(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and str(code.co_filename).startswith(FRAMEWORK)
