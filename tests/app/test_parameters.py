"""What handlers may ask for: FastAPI's parameters are FastAPI's in each of them, or are refused when registered."""

import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
    Security,
    UploadFile,
    WebSocket,
)
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection
from typing_extensions import TypeAliasType
from websockets.exceptions import InvalidStatus

from qrsocket import User, socket
from qrsocket.server import SocketRouter
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.clients import Open

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypes

# Names of ours in every kind of handler, and how each kind is registered.
OURS = {
    "on_connect": ("request", "cookies", "headers", "query", "client", "token", "subprotocols"),
    "authenticate": ("data", "connection", "request_id", "user", "request"),
    "on_message": ("data", "connection", "request_id", "user", "request"),
    "on_online": ("user_id", "event_id", "attempt"),
    "on_offline": ("user_id", "event_id", "attempt"),
}
NAMES = [(kind, name) for kind, names in OURS.items() for name in names]


def handler(name: str, annotation: Any, default: Any = ...) -> Callable[..., Any]:
    """Return an async function with this one parameter, which returns it."""
    scope: dict[str, Any] = {"annotation": annotation, "default": default}
    value = "" if default is ... else " = default"
    exec(f"async def asks({name}: annotation{value}): return {name}", scope)
    function: Callable[..., Any] = scope["asks"]
    return function


def denied() -> None:
    raise HTTPException(403, "denied by the dependency")


@pytest.mark.parametrize("kind", ["on_connect", "authenticate", "on_message"])
@pytest.mark.parametrize("marker", [Depends(denied), Security(denied, scopes=["admin"])])
async def test_a_dependency_is_asked_whatever_it_is_called(
    serve: Serve, open_client: Open, kind: str, marker: Any
) -> None:
    """
    A parameter with a name of ours that is marked with Depends or Security is FastAPI's, in each kind of handler and in
    each way to write it.
    """
    for name in OURS[kind]:
        alias = TypeAliasType("alias", Annotated[Any, marker])  # type: ignore[misc]
        for asks in (handler(name, Annotated[Any, marker]), handler(name, Any, marker), handler(name, alias)):
            router = SocketRouter()
            getattr(router, kind)(asks)
            address = await serve(router)

            if kind == "on_connect":
                with pytest.raises(InvalidStatus, match="403"):
                    await open_client(address)
            else:
                client = await open_client(address)
                await client.send(1)
                assert {"error": "denied by the dependency"} == await client.receive()


async def test_hooks_depend_on_things(serve: Serve, open_client: Open) -> None:
    """
    A hook's dependencies are solved and closed, its application's overrides count, and our names may be theirs.
    """
    events: list[Any] = []

    async def database() -> AsyncIterator[str]:
        yield "the real one"

    async def fake() -> AsyncIterator[str]:
        yield "an override"
        events.append("closed")

    router = router_of_named_users()

    @router.on_online
    async def on_online(user_id: str, attempt: Annotated[str, Depends(database)]) -> None:
        events.append((user_id, attempt))

    app = FastAPI()
    app.dependency_overrides[database] = fake
    alice = await open_client(await serve(router, app=app), "/socket?user=alice")
    await alice.send("once the hook has run")
    await alice.receive()
    while len(events) < 2:
        await alice.send("again")
        await alice.receive()

    assert [("alice", "an override"), "closed"] == events


@pytest.mark.parametrize("name", OURS["on_message"])
async def test_markers_are_read_from_the_handshake(serve: Serve, open_client: Open, name: str) -> None:
    """
    Query, Header, Cookie and Path are FastAPI's under each of our names.
    """
    router = SocketRouter("/socket/{room}")
    seen: list[Any] = []
    for marker in (Query(alias="q"), Header(alias="x-q"), Cookie(alias="q"), Path(alias="room")):
        router = SocketRouter("/socket/{room}")
        asks = handler(name, Annotated[str, marker])

        async def note(value: Annotated[str, Depends(asks)]) -> None:
            await socket.send(value)

        router.on_message(note)
        plain = SocketRouter("/direct/{room}")
        plain.on_message(asks)
        address = await serve(router, plain)
        options = {"additional_headers": {"X-Q": "header", "Cookie": "q=cookie"}, "origin": f"http://{address}"}
        client = await open_client(address, "/socket/path?q=query", **options)
        await client.send(1)
        seen.append(await client.receive_text())

    assert ["query", "header", "cookie", "path"] == seen


async def test_the_connection_is_read_as_what_is_asked_for(serve: Serve, open_client: Open) -> None:
    """
    A handler, or what it depends on, may read the handshake as a Request, a WebSocket or an HTTPConnection.
    """
    router = SocketRouter("/socket")
    bearer = HTTPBearer()

    @router.on_connect
    async def on_connect(socket_of_mine: WebSocket) -> User:
        return User(socket_of_mine.query_params["user"])

    @router.on_message(type="json")
    async def on_message(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)], scopes: SecurityScopes
    ) -> None:
        await socket.send([request.url.path, (await request.body()).decode(), credentials.credentials, scopes.scopes])

    @router.on_message(type="binary")
    async def on_binary(connection: HTTPConnection, websocket: WebSocket) -> None:
        assert connection.headers["Authorization"] == websocket.headers["Authorization"]
        await websocket.send_text("past our order")

    address = await serve(router)
    client = await open_client(address, "/socket?user=alice", additional_headers={"Authorization": "Bearer t"})
    await client.send(1)
    assert ["/socket", "", "t", []] == await client.receive()
    await client.send(b"1")
    assert "Internal error" in (await client.receive())["error"]


class Row(BaseModel):
    x: int


def _needs_both(request: Request, websocket: WebSocket) -> None: ...


def _needs_a_body(row: Row) -> None: ...


def _needs_a_request(request: Request) -> None: ...


def _needs_background(tasks: BackgroundTasks) -> None: ...


@pytest.mark.parametrize(("kind", "name"), NAMES)
@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        (BackgroundTasks, "queue a task"),
        (Response, "no HTTP response"),
        (Annotated[Row, Body()], "has no body"),
        (Annotated[str, Form()], "has no body"),
        (Annotated[UploadFile, File()], "has no body"),
        (Annotated[None, Depends(_needs_a_body)], "has no body"),
        (Annotated[None, Depends(_needs_background)], "queue a task"),
    ],
)
def test_what_cannot_be_given_is_refused_at_once(kind: str, name: str, annotation: Any, told: str) -> None:
    """
    A handler that asks for what nobody can give is a TypeError where it is registered, which says what to do.
    """
    with pytest.raises(TypeError, match=f"asks asks for .*{told}"):
        getattr(SocketRouter(), kind)(handler(name, annotation))


@pytest.mark.parametrize("kind", ["on_online", "on_offline"])
@pytest.mark.parametrize(
    "annotation",
    [Request, WebSocket, HTTPConnection, Annotated[str, Query()], Annotated[None, Depends(_needs_a_request)], str],
)
def test_a_hook_has_no_connection(kind: str, annotation: Any) -> None:
    """
    A hook that asks for something of a connection is refused when it is registered.
    """
    with pytest.raises(TypeError, match=f"{kind} has no connection"):
        getattr(SocketRouter(), kind)(handler("anything", annotation))


def test_one_connection_is_not_two() -> None:
    """
    A handler whose dependencies want the handshake as a Request and as a WebSocket is refused.
    """
    with pytest.raises(TypeError, match="both a Request and a WebSocket"):
        SocketRouter().on_message(handler("x", Annotated[None, Depends(_needs_both)]))


MARKED = Annotated[Any, Depends(denied)]
ALIAS = TypeAliasType("ALIAS", MARKED)  # type: ignore[misc]
HIDDEN = [
    MARKED | None,
    list[MARKED],
    TypeAliasType("ALIAS_OF_AN_ALIAS", ALIAS),  # type: ignore[misc]
    Annotated[ALIAS, "a note"],
    Request | None,
    WebSocket | None,
    dict[str, BackgroundTasks],
]


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("annotation", HIDDEN, ids=range(len(HIDDEN)))
def test_what_is_fastapis_is_not_hidden(kind: str, annotation: Any) -> None:
    """
    A marker or a type of FastAPI's inside of an annotation, where FastAPI would not see it, is refused, whatever the
    parameter is called.
    """
    for name in (*OURS[kind], "anything"):
        with pytest.raises(TypeError, match=f"asks: what FastAPI is to give as {name} stands inside"):
            getattr(SocketRouter(), kind)(handler(name, annotation, None))


class Account:
    """Neither a model of Pydantic's nor a dependency."""


def test_what_fastapi_refuses_is_refused_by_name() -> None:
    """
    What FastAPI cannot make sense of is a TypeError with the name of the handler.
    """
    with pytest.raises(TypeError, match="asks asks for something that FastAPI cannot give"):
        SocketRouter().on_message(handler("account", Account))


def test_an_annotation_that_cannot_be_read_is_refused() -> None:
    """
    Where an annotation is for type checkers alone nobody can see a marker in it: such a handler is refused, by name.
    """

    async def on_message(data: "Annotated[OnlyForTypes, Depends(denied)]") -> None: ...

    with pytest.raises(TypeError, match=r"annotation .*OnlyForTypes.* of data cannot be read"):
        SocketRouter().on_message(on_message)


@pytest.mark.parametrize("annotation", [Annotated["Account", 1], dict[str, Annotated["Account", 1]]])
def test_a_part_of_an_annotation_that_cannot_be_read_is_refused(annotation: Any) -> None:
    """
    A name in quotes inside of an annotation, which nothing reads, is found there.
    """
    with pytest.raises(TypeError, match=r"the annotation 'Account' of data cannot be read"):
        SocketRouter().on_message(handler("data", annotation))


@pytest.mark.parametrize("annotation", ["Unknown", "list[Unknown]", "Annotated[Unknown, 1]", "dict[str, set[Unknown]]"])
def test_what_only_a_type_checker_knows_is_refused(annotation: str) -> None:
    """
    From Python 3.14 on such an annotation is no error of Python's, and is refused where the handler is registered.
    """
    scope: dict[str, Any] = {"Annotated": Annotated, "router": SocketRouter()}
    refused = TypeError if sys.version_info >= (3, 14) else NameError

    with pytest.raises(refused, match="Unknown"):
        exec(f"@router.on_message\nasync def on_message(data: {annotation}): ...", scope)


def test_what_a_dependency_returns_need_not_be_read() -> None:
    """
    The type of what `Depends` gives is for type checkers, and may be unknown.
    """
    SocketRouter().on_message(handler("account", Annotated["Account", Depends(denied)]))


def test_a_return_annotation_may_be_for_type_checkers_alone() -> None:
    """
    What a handler returns need not be read.
    """

    async def on_message(data: int) -> "OnlyForTypes": ...

    SocketRouter().on_message(on_message)


@pytest.mark.parametrize("signature", ["*args, **kwargs", "data, /", "**data"])
def test_parameters_without_names_are_refused(signature: str) -> None:
    """
    A handler whose parameters cannot be given by name, as under a decorator without functools.wraps, is refused.
    """
    scope: dict[str, Any] = {}
    exec(f"async def asks({signature}): ...", scope)

    with pytest.raises(TypeError, match=r"asks takes .*functools\.wraps"):
        SocketRouter().on_message(scope["asks"])


async def test_parameters_of_a_prefix_are_of_the_path(serve: Serve, open_client: Open) -> None:
    """
    What `include_router(prefix=...)` adds to the path is read from the path, in handlers and in what they depend on.
    """
    router = SocketRouter("/rooms/{room}/socket")

    async def tenant_of(tenant: int) -> int:
        return tenant

    @router.on_connect
    async def on_connect(tenant: int, room: str) -> User:
        return User(f"{tenant}-{room}")

    @router.on_message
    async def on_message(room: str, tenant: Annotated[int, Depends(tenant_of)]) -> None:
        await socket.send([tenant, room])

    parent = APIRouter()
    parent.include_router(router, prefix="/tenants/{tenant}")
    client = await open_client(await serve(parent), "/tenants/7/rooms/blue/socket?tenant=8&room=red")
    await client.send(1)

    assert [7, "blue"] == await client.receive()
    assert await socket.is_online("7-blue")


async def test_pydantic_fields_stay_ours(serve: Serve, open_client: Open) -> None:
    """
    Pydantic's own Field is no marker of FastAPI's: `data` with one is the message.
    """
    router = SocketRouter()

    @router.on_message
    async def on_message(data: Annotated[int, Field(ge=10)]) -> None:
        await socket.send(data)

    client = await open_client(await serve(router))
    await client.send(9)
    assert "greater than or equal to 10" in (await client.receive())["error"]
    await client.send(10)
    assert 10 == await client.receive()
