"""
uvicorn's WebSocket protocol that does no I/O of its own. Ours inherits from it: from that of uvicorn 0.52 or newer.

What ours does with it stands in opening.py and protocol.py of qrsocket.server; with HTTP, in http_protocol.py.
"""

import asyncio

from qrsocket.internals import refuse, require

try:
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
except ModuleNotFoundError as error:
    if not str(error.name).startswith("uvicorn.protocols"):
        raise  # it is not installed, or websockets is not
    refuse("uvicorn", "its WebSocket protocol without I/O, of 0.52 or newer, is missing")

__all__ = ["WebSocketsSansIOProtocol", "runner"]

require(
    "uvicorn",
    WebSocketsSansIOProtocol,
    *("app", "close_sent", "conn", "disconnected", "handshake_complete", "initial_response", "loop", "ping_interval"),
    *("ping_timeout", "queue", "read_paused", "transport", "writable"),
    *("connection_lost", "data_received", "pause_writing", "resume_writing", "send", "shutdown", "keepalive_timeout"),
    *("handle_bytes", "handle_close", "handle_connect", "handle_cont", "handle_parser_exception", "handle_ping"),
    *("handle_pong", "handle_text"),
)


def runner() -> object:
    """Return whose method this task runs: of a server's tasks, the protocol or the lifespan."""
    task = asyncio.current_task()
    frame = getattr(task and task.get_coro(), "cr_frame", None)
    return frame and frame.f_locals.get("self")
