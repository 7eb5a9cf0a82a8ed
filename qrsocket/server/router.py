"""What an application registers its handlers on: a FastAPI router with one WebSocket route."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload

from fastapi import APIRouter, Request, Response, WebSocket
from starlette.requests import HTTPConnection

from qrsocket.server import handshake
from qrsocket.server.handlers import Handlers
from qrsocket.server.inbound import MessageHandler, MessageType
from qrsocket.server.parameters import Function
from qrsocket.server.runtime import Node, node_of, running_node
from qrsocket.server.session import serve

F = TypeVar("F", bound=Callable[..., Any])
HOOK_PARAMETERS = frozenset({"user_id", "event_id", "attempt"})


class SocketRouter(APIRouter):
    """
    Sockets of an application: `app.include_router(SocketRouter("/socket"))` is all the wiring.

    It serves the WebSocket at *path*, and `GET <path>/ready` for health checks: 200 while a message to a connection of
    this process would arrive, otherwise 503. Several routers in one application share one node.
    """

    def __init__(self, path: str = "/socket") -> None:
        super().__init__(prefix=path, lifespan=self._run)
        self._path = path
        self._handlers = Handlers()
        self.add_api_websocket_route("", self._serve, name="socket")
        self.add_api_route("/ready", self._ready, methods=["GET"], summary="Whether this node can deliver")

    def on_connect(self, call: F) -> F:
        """
        Register what says who comes, before the connection is accepted.

        It may ask by name for `request`, `cookies`, `headers`, `query`, `client` (address) and `token` (bearer), and
        for what FastAPI solves. It returns a user (anything with an `id`, a mapping with `"id"`, or the id), or None
        when that is not known yet; or raises `HTTPException(401)` or `(403)` to refuse.
        """
        self._once("on_connect", self._handlers.on_connect)
        self._handlers.on_connect = Function(call, handshake.PARAMETERS, path=self._path)
        return call

    def authenticate(self, call: F) -> F:
        """
        Register what gets the first message (JSON) of a connection without a user.

        It returns a user as `on_connect` does, or None for an anonymous session; or raises: the client gets the error
        and is closed with 4100. Parameters are those of `on_message`.
        """
        self._once("authenticate", self._handlers.authenticate)
        self._handlers.authenticate = MessageHandler(call, "json", None, path=self._path)
        return call

    @overload
    def on_message(self, call: F) -> F: ...
    @overload
    def on_message(self, *, type: MessageType = "json", timeout: float | None = None) -> Callable[[F], F]: ...
    def on_message(
        self, call: F | None = None, *, type: MessageType = "json", timeout: float | None = None
    ) -> F | Callable[[F], F]:
        """
        Register the handler of messages: one for text frames and one for binary frames at most.

        It may ask by name for `data` (validated against its annotation), `user`, `connection`, `request_id`, or
        `request` with all four, and for `Depends`, solved for each message and closed after it.

        Args:
            type: What `data` is: `"json"`, `"string"` (or `"text"`) as it came, or `"binary"`.
            timeout: Seconds until the client is answered with an error; `handler_timeout` by default.
        """
        if call is None:
            return lambda call: self._add_handler(call, type, timeout)
        return self._add_handler(call, type, timeout)

    def on_online(self, call: F) -> F:
        """
        Register a hook for `user_id`'s first connection, anywhere.

        It runs on one node, once for each time that a user comes online, and after the hook before it has ended. It
        may ask for `event_id` as well, and for `attempt`: 2 and more if the hook was another node's to run, which was
        killed or cut off from Redis, so that it may have run there, or in part. The event's id is the same then.
        """
        self._handlers.on_online.append(Function(call, HOOK_PARAMETERS, path=self._path))
        return call

    def on_offline(self, call: F) -> F:
        """
        Register a hook for the close of `user_id`'s last connection, anywhere, also when its node was killed.

        It runs on one node, once the user has been gone for `offline_grace`; otherwise as `on_online`.
        """
        self._handlers.on_offline.append(Function(call, HOOK_PARAMETERS, path=self._path))
        return call

    def _add_handler(self, call: F, type: MessageType, timeout: float | None) -> F:
        handler = MessageHandler(call, type, timeout, path=self._path)
        if type == "binary":
            self._once('on_message for type="binary"', self._handlers.for_binary)
            self._handlers.for_binary = handler
        else:
            self._once("on_message for text frames", self._handlers.for_text)
            self._handlers.for_text = handler
        return call

    def _once(self, name: str, registered: object) -> None:
        if registered is not None:
            raise RuntimeError(f"{name} of the socket router {self._path!r} is registered already")

    @asynccontextmanager
    async def _run(self, app: Any) -> AsyncIterator[None]:
        async with node_of(app, self._handlers):
            yield

    async def _serve(self, websocket: WebSocket) -> None:
        await serve(websocket, self._handlers, self._node(websocket))

    async def _ready(self, request: Request, response: Response) -> dict[str, Any]:
        node = self._node(request)
        if not node.is_ready:
            response.status_code = 503
        return {"ready": node.is_ready, "node": node.keeper.node, "connections": len(node.hub)}

    def _node(self, connection: HTTPConnection) -> Node:
        node = running_node(connection.app)
        if node is None:
            raise RuntimeError(
                f"the socket router {self._path!r} is not running, since the application's lifespan has not begun: "
                "include it in the application that the server runs (not in a mounted one), and in tests enter "
                "`with TestClient(app)`"
            )
        return node
