"""Before a WebSocket is accepted: where the page is from, and who comes, if that can be told already."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from qrsocket import events
from qrsocket.context import Context, current, running_for
from qrsocket.errors import InvalidToken, InvalidUserId, SocketError
from qrsocket.events import Refused
from qrsocket.logger import Logger, in_one_line
from qrsocket.server.authenticate import user_in
from qrsocket.server.exchange import Arrival
from qrsocket.server.failing import from_the_application, refused_by
from qrsocket.server.finding import protocol_of
from qrsocket.server.parameters import Function, Kind
from qrsocket.settings import Settings
from qrsocket.users import User

logger = Logger(__name__)

ON_CONNECT = Kind(
    "on_connect", frozenset({"request", "cookies", "headers", "query", "client", "token", "subprotocols"})
)
FOR_CLIENTS = (HTTPException, SocketError, WebSocketException, InvalidUserId)
DEFAULT_PORTS = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}


class Refusal(HTTPException):
    """
    One of ours: what the client is told is the cause in the log, too.

    Attributes:
        is_logged: The log has it already, with more words.
    """

    is_logged = False


class Subprotocols(list[str]):
    """
    The subprotocols that a client offers, as `new WebSocket(url, ["bearer", token])` does, for `on_connect`.

    A browser closes a connection for which it has offered some and none was chosen: `subprotocols.choose("bearer")`.
    Ours, `qrsocket.v1`, is chosen by itself if no other is.

    Attributes:
        chosen: The one that the client is answered with.

    Source: RFC 6455, section 4.1, and https://websockets.spec.whatwg.org/#dom-websocket-websocket
    """

    chosen: str | None = None

    def choose(self, name: str) -> None:
        """
        Answer the client with *name*.

        Raises:
            ValueError: The client has not offered it.
        """
        if name not in self:
            # Not quoted: it may be a token.
            raise ValueError("only a subprotocol that the client offers can be chosen")
        self.chosen = name


async def shake_hands(
    connection: HTTPConnection,
    on_connect: Function | None,
    settings: Settings,
    *,
    with_origin: bool = True,
    subprotocols: Subprotocols | None = None,
    arrival: Arrival | None = None,
) -> User | None:
    """
    Check the origin and ask *on_connect*, unless an ASGI middleware or a dependency has said already who it is.

    Args:
        connection: A WebSocket that is not accepted yet, or a request for the jobs of who sends it.
        with_origin: The origin is to be checked: browsers need not say it where nothing is changed.
        subprotocols: What a WebSocket's client offers, of which *on_connect* may choose one.
        arrival: Gets what *on_connect* wants done with the connection.

    Returns:
        The user; None if it is not known yet.

    Raises:
        HTTPException: The connection is refused.
        TokenExpired: The user is known, and was authenticated for too short a time.
    """
    if with_origin:
        check_origin(connection, settings.allowed_origins)
    known = current().proof
    if on_connect is None or known is not None:
        return known
    # As a Request, FastAPI's security classes (OAuth2PasswordBearer, APIKeyCookie …) read it as they read any other.
    request = Request({**connection.scope, "type": "http", "method": "GET"})
    values = _values(request, Subprotocols() if subprotocols is None else subprotocols)
    arrival = Arrival() if arrival is None else arrival
    with running_for(Context(here=arrival, settings=current().settings)):
        try:
            async with asyncio.timeout(settings.handler_timeout):
                user = user_in(await on_connect(values, request))
        except TimeoutError:
            raise Refusal(503, "on_connect took too long") from None
        marked = user_in(arrival.user)  # by `await authenticated(user)`
    if user is not None and marked is not None and user != marked:
        raise Refusal(403, "on_connect and authenticated() named two different users")
    return user or marked


def _values(request: Request, subprotocols: Subprotocols) -> dict[str, object]:
    """Return what *on_connect* may ask for by name."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    return {
        "request": request,
        "cookies": request.cookies,
        "headers": request.headers,
        "query": dict(request.query_params),
        "client": request.client.host if request.client else None,
        "token": credentials.strip() if scheme.lower() == "bearer" else None,
        "subprotocols": subprotocols,
    }


async def refuse(websocket: WebSocket, error: Exception) -> None:
    """Answer the handshake with an HTTP error instead of accepting it."""
    try:
        response = refusal(error)
    except (TypeError, ValueError) as wrong:  # the application's text or headers cannot be sent
        response = refusal(wrong)
    _note_refused(error, response.status_code, websocket.client.host if websocket.client else None)
    with suppress(WebSocketDisconnect, OSError):  # the client may not have waited
        if "websocket.http.response" in websocket.scope.get("extensions", {}):
            await websocket.send_denial_response(response)
            if protocol := protocol_of(websocket):
                protocol.mark_answered()
        else:
            await websocket.close()


def refusal(error: Exception) -> JSONResponse:
    """Return what a refused client is answered. What was not raised for it is logged, and not told."""
    match error:
        case HTTPException():  # FastAPI's is one of these
            return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
        case InvalidToken():
            return JSONResponse({"detail": error.message}, 401, {"WWW-Authenticate": "Bearer"})
        case SocketError():
            return JSONResponse({"detail": str(error.message)}, 403)
        case WebSocketException():
            return JSONResponse({"detail": error.reason}, 403)
        case InvalidUserId():
            return JSONResponse({"detail": str(error)}, 403)
        case _:
            logger.error("on_connect failed", exc_info=from_the_application(error), http_status=500)
            return JSONResponse({"detail": "Internal Server Error"}, 500)


def _note_refused(error: Exception, status: int, client: str | None) -> None:
    if events.observers:
        events.notify(Refused(status, type(error).__name__))
    if isinstance(error, Refusal):
        if not error.is_logged:
            logger.warning("handshake refused: %s", error.detail, http_status=status, client=client)
    elif isinstance(error, FOR_CLIENTS):  # otherwise it has failed, and that is logged
        logger.warning("handshake refused by the application", http_status=status, client=client, **refused_by(error))


def check_origin(connection: HTTPConnection, allowed: Collection[str]) -> None:
    """
    Refuse pages of other sites, unless their origins are *allowed*: browsers send cookies with a WebSocket from any
    page.

    Raises:
        HTTPException: 403.

    Source: RFC 6455, section 10.2
    """
    origin = connection.headers.get("Origin")
    if origin is None:
        if connection.cookies:
            logger.warning("origin refused: a client sends cookies and no Origin, which every browser sends")
            raise _logged(Refusal(403, "a connection with cookies must say its Origin"))
        return  # not a browser
    if origin in allowed or ("*" in allowed and origin != "null"):
        return
    try:
        parts = urlsplit(origin)
    except ValueError:
        parts = urlsplit("")
    port = DEFAULT_PORTS.get(parts.scheme, "")
    host = connection.headers.get("Host", "").lower()
    if parts.netloc and host.removesuffix(port) == parts.netloc.lower().removesuffix(port):
        return
    logger.warning(
        "origin refused: if this page may connect, add its origin to QRSOCKET_ALLOWED_ORIGINS; if a proxy changes the "
        "Host of the request, let it pass on the browser's",
        origin=in_one_line(origin),
        host_header=in_one_line(host),
    )
    raise _logged(Refusal(403, "Origin not allowed: add it to QRSOCKET_ALLOWED_ORIGINS"))


def _logged(refusal: Refusal) -> Refusal:
    refusal.is_logged = True
    return refusal
