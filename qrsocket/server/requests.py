"""What is known of each request before the application is asked: its settings, and its connection."""

import re
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from qrsocket.context import current, running_for
from qrsocket.logger import Logger
from qrsocket.settings import Settings

logger = Logger(__name__)

HEADER = b"x-socket-connection"
CONNECTION_ID = re.compile(rb"[0-9a-f]{32}")


class WithContext:
    """
    An ASGI middleware. Our client says in a header of an HTTP request which connection its page has: that counts once
    the request has a user, and only for that user's connections.
    """

    def __init__(self, app: ASGIApp, settings: Settings | None) -> None:
        self.app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        claimed = _claimed(scope) if scope["type"] == "http" else None
        if scope["type"] == "lifespan" or (claimed is None and current().settings == self._settings):
            await self.app(scope, receive, send)
            return
        with running_for(replace(current(), claimed=claimed, settings=self._settings)):
            await self.app(scope, receive, send)


def install(app: Any, settings: Settings | None) -> None:
    """
    Put it before all that *app* does, which was given *settings*. It runs already, and `add_middleware` is for before.

    Source: starlette/applications.py, `Starlette.__call__`, which calls `middleware_stack` for each request
    """
    stack = getattr(app, "middleware_stack", None)
    if stack is None:
        logger.warning("not a Starlette application: `others` leaves out no connection in HTTP requests")
    elif not isinstance(stack, WithContext):
        app.middleware_stack = WithContext(stack, settings)


def _claimed(scope: Scope) -> str | None:
    values = [value for name, value in scope["headers"] if name == HEADER]
    return values[0].decode() if len(values) == 1 and CONNECTION_ID.fullmatch(values[0]) else None
