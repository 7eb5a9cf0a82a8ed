"""
Leaving the layers that FastAPI puts around an endpoint: fourteen coroutines and 12 KiB that each connection would hold
until it is closed. That is done only where nobody in them waits for its end: neither a middleware of the application or
around it, nor a dependency with a `yield`.
"""

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from starlette.websockets import WebSocket

from qrsocket.server.protocol import protocol_of

# Where FastAPI keeps what is to be closed when the endpoint has returned, and an upload of its own.
STACKS = ("fastapi_inner_astack", "fastapi_function_astack")
EMPTY_FOR_WEBSOCKETS = "fastapi_middleware_astack"


async def serve_outside(websocket: WebSocket, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Serve *websocket*: when the application has returned, where that may be, else now. Call it last."""
    protocol = protocol_of(websocket)
    may_leave = protocol is not None and protocol.application is websocket.scope.get("app") and _nobody_waits(websocket)
    if protocol is None or not may_leave or not protocol.outlive(serve):
        await serve()
        return
    for name in (*STACKS, EMPTY_FOR_WEBSOCKETS):
        websocket.scope.pop(name, None)  # 760 bytes each


def _nobody_waits(websocket: WebSocket) -> bool:
    stacks = [websocket.scope.get(name) for name in STACKS]
    has_closers = any(not isinstance(one, AsyncExitStack) or getattr(one, "_exit_callbacks", True) for one in stacks)
    return not has_closers and not getattr(websocket.scope["app"], "user_middleware", True)
