"""
Finding what serves a connection, or this process, if it is uvicorn; and naming our classes to it.

An object of its own WebSocket class becomes one of ours, so that plain `uvicorn main:app` writes past ASGI, too. What
comes before a WebSocket is accepted is uvicorn's then. With another server, or a uvicorn that our classes do not fit,
all works by ASGI, and what is lost is said.
"""

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket

from qrsocket.internals.fastapi import receive_of
from qrsocket.settings import Settings

if TYPE_CHECKING:
    from qrsocket.server.protocol import WebSocketProtocol

HTTP_MODULE, WS_MODULE = "qrsocket.server.http_protocol", "qrsocket.server.protocol"
CLASSES = f"--http {HTTP_MODULE}:HttpProtocol --ws {WS_MODULE}:WebSocketProtocol"
NO_TRANSPORT = (
    "this server lends no transport: all works, but a message costs several times as much, and limits on frames are "
    "the server's"
)

uvicorn: Any = None
ours: Any = None
WHY = ""
try:
    uvicorn = import_module("qrsocket.internals.uvicorn")
except ImportError as error:
    WHY = str(error)
else:
    ours = import_module(WS_MODULE)


def protocol_of(websocket: WebSocket) -> "WebSocketProtocol | None":
    """
    Return what serves *websocket*; call it in the task that the server has made. None with another server, or another
    of uvicorn's protocols.
    """
    if ours is None:
        return None
    lent: dict[str, Any] = websocket.scope.get("extensions", {}).get(ours.EXTENSION, {})
    owner: Any = lent.get("protocol") or _owner_of(websocket)
    if type(owner) is uvicorn.WebSocketsSansIOProtocol:
        owner.__class__ = ours.WebSocketProtocol
    return owner if isinstance(owner, ours.WebSocketProtocol) else None


def options_for_uvicorn(settings: Settings) -> dict[str, Any]:
    """Return what has uvicorn serve with our classes; if they do not fit it, with its own, and our limits for these."""
    options: dict[str, Any] = {}
    with suppress(ImportError):  # httptools is not installed, say: `what_is_lost` says so
        options["http"] = import_module(HTTP_MODULE).HttpProtocol
    if ours is not None:
        return {**options, "ws": ours.WebSocketProtocol}
    return {
        **options,
        "ws_max_size": settings.max_message_in_bytes,
        "ws_ping_interval": settings.ping_interval,
        "ws_ping_timeout": settings.ping_timeout,
        "ws_per_message_deflate": settings.compression,
    }


def what_is_lost() -> str | None:
    """Return what this server does not give us, and what to do about it; call it in the lifespan's task."""
    if ours is None:
        return f"{NO_TRANSPORT}: {WHY}"
    config = getattr(uvicorn.runner(), "config", None)
    chosen = getattr(config, "ws_protocol_class", None)
    if chosen is uvicorn.WebSocketsSansIOProtocol:
        lost = "uvicorn's own WebSocket class serves: nothing is limited before a WebSocket is accepted"
    elif not isinstance(chosen, type) or not issubclass(chosen, ours.WebSocketProtocol):
        lost = NO_TRANSPORT
    elif getattr(getattr(config, "http_protocol_class", None), "__module__", "") != HTTP_MODULE:
        lost = "uvicorn's own HTTP class serves: heads of requests are not limited"
    else:
        return None
    return f"{lost}. Start it with `qrsocket serve`, or `uvicorn {CLASSES}`"


def _owner_of(websocket: WebSocket) -> object:
    owner = getattr(receive_of(websocket), "__self__", None)
    if isinstance(owner, uvicorn.WebSocketsSansIOProtocol):
        return owner
    return uvicorn.runner()  # a middleware has wrapped it, as tracers do
