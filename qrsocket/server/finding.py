"""
Finding what serves a connection, or this process, if it is uvicorn.

An object of its own WebSocket class becomes one of ours, so that plain `uvicorn main:app` writes past ASGI, too. What
comes before a WebSocket is accepted is uvicorn's then.
"""

import asyncio
from typing import Any

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from qrsocket.server.protocol import EXTENSION, WebSocketProtocol

# By name: to import it takes httptools, which another server need not have.
HTTP_MODULE = "qrsocket.server.http_protocol"
CLASSES = f"--http {HTTP_MODULE}:HttpProtocol --ws {WebSocketProtocol.__module__}:WebSocketProtocol"


def protocol_of(websocket: WebSocket) -> WebSocketProtocol | None:
    """
    Return what serves *websocket*; call it in the task that the server has made. None with another server, or another
    of uvicorn's protocols.
    """
    lent: dict[str, Any] = websocket.scope.get("extensions", {}).get(EXTENSION, {})
    owner = lent.get("protocol") or _owner_of(websocket)
    if type(owner) is WebSocketsSansIOProtocol:
        owner.__class__ = WebSocketProtocol
    return owner if isinstance(owner, WebSocketProtocol) else None


def what_is_lost() -> str | None:
    """Return what this server does not give us, and what to do about it; call it in the lifespan's task."""
    config = getattr(_runner(), "config", None)
    chosen = getattr(config, "ws_protocol_class", None)
    if chosen is WebSocketsSansIOProtocol:
        lost = "uvicorn's own WebSocket class serves: nothing is limited before a WebSocket is accepted"
    elif not isinstance(chosen, type) or not issubclass(chosen, WebSocketProtocol):
        lost = "this server lends no transport: each message costs several times as much, and limits are the server's"
    elif getattr(getattr(config, "http_protocol_class", None), "__module__", "") != HTTP_MODULE:
        lost = "uvicorn's own HTTP class serves: heads of requests are not limited"
    else:
        return None
    return f"{lost}. Start it with `qrsocket serve`, or `uvicorn {CLASSES}`"


def _owner_of(websocket: WebSocket) -> object:
    receive = websocket._receive  # noqa: SLF001 - ASGI hands out nothing else that leads to the transport
    owner = getattr(receive, "__self__", None)
    if isinstance(owner, WebSocketsSansIOProtocol):
        return owner
    return _runner()  # a middleware has wrapped it, as tracers do


def _runner() -> object:
    """Return whose method this task runs: of the server's tasks, the protocol or the lifespan."""
    task = asyncio.current_task()
    frame = getattr(task and task.get_coro(), "cr_frame", None)
    return frame and frame.f_locals.get("self")
