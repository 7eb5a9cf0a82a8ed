"""Before a WebSocket is accepted: origin, on_connect, refusals."""

import asyncio
import logging
from typing import Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from websockets.exceptions import InvalidStatus

from qrsocket import SocketError, User, authenticated, socket
from qrsocket.server import SocketRouter
from qrsocket.server.lifespan import running_node
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.clients import Open
from tests.conftest import MS, Configure, until


async def refusal(opening: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refused:
        await opening
    response = refused.value.response
    return response.status_code, (response.body or b"").decode()


async def test_on_connect_gets_what_it_names(serve: Serve, open_client: Open) -> None:
    """
    on_connect gets cookies, headers, query, client address, bearer token and the request, by name.
    """
    router = SocketRouter("/socket")
    seen: dict[str, Any] = {}

    @router.on_connect
    async def on_connect(
        request: Request, cookies: dict[str, str], headers: Any, query: dict[str, str], client: str, token: str
    ) -> User:
        seen.update(
            path=request.url.path, cookies=cookies, agent=headers["x-a"], query=query, client=client, token=token
        )
        return User("alice")

    address = await serve(router)
    await open_client(
        address,
        "/socket?a=1",
        origin=f"http://{address}",
        additional_headers={"Cookie": "c=2", "X-A": "3", "Authorization": "Bearer t0k3n"},
    )

    expected = {"path": "/socket", "cookies": {"c": "2"}, "agent": "3", "query": {"a": "1"}, "client": "127.0.0.1"}
    assert expected | {"token": "t0k3n"} == seen


async def test_on_connect_takes_depends(serve: Serve, open_client: Open) -> None:
    """
    FastAPI's security classes and other dependencies work in on_connect, and are closed before the socket opens.
    """
    router = SocketRouter("/socket")
    events: list[str] = []

    async def database() -> Any:
        events.append("opened")
        yield "database"
        events.append("closed")

    @router.on_connect
    async def on_connect(
        db: str = Depends(database), bearer: HTTPAuthorizationCredentials = Depends(HTTPBearer())
    ) -> User:
        events.append(db)
        return User(bearer.credentials)

    address = await serve(router)
    await open_client(address, additional_headers={"Authorization": "Bearer alice"})

    assert ["opened", "database", "closed"] == events
    assert await socket.is_online("alice")
    status, body = await refusal(open_client(address))
    assert status in (401, 403), "FastAPI's own choice, which has changed"
    assert '{"detail":"Not authenticated"}' == body


@pytest.mark.parametrize("answer", ["42", 42, User("42"), {"id": 42}, {"id": "42", "name": "x"}])
async def test_a_user_is_anything_with_an_id(serve: Serve, open_client: Open, answer: Any) -> None:
    """
    on_connect may return an id, an object with one, or a mapping with "id".
    """
    router = SocketRouter("/socket")
    router.on_connect(lambda: answer)

    await open_client(await serve(router))

    assert await socket.is_online(42)


async def test_authenticated_in_the_handshake(serve: Serve, open_client: Open) -> None:
    """
    `await authenticated(user)` in on_connect is as good as returning the user.
    """
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect() -> None:
        await authenticated("alice")

    await open_client(await serve(router))

    assert await socket.is_online("alice")


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (HTTPException(401, "who?"), 401, '{"detail":"who?"}'),
        (HTTPException(403), 403, '{"detail":"Forbidden"}'),
        (SocketError("not today"), 403, '{"detail":"not today"}'),
        (ValueError("s3cret"), 500, '{"detail":"Internal Server Error"}'),
    ],
)
async def test_refused(serve: Serve, open_client: Open, error: Exception, status: int, body: str) -> None:
    """
    What on_connect raises refuses the handshake: with its own status and text if it is meant for the client.
    """
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect() -> None:
        raise error

    assert (status, body) == await refusal(open_client(await serve(router)))


async def test_on_connect_in_time(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    An on_connect that hangs refuses the handshake with 503 after the handler timeout.
    """
    configure(handler_timeout=50 * MS)
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect() -> None:
        await asyncio.Event().wait()

    assert 503 == (await refusal(open_client(await serve(router))))[0]


@pytest.mark.parametrize(
    ("origin", "cookie", "allowed", "is_accepted"),
    [
        (None, None, "[]", True),
        (None, "a=1", "[]", False),
        ("http://{host}", "a=1", "[]", True),
        ("https://{host}", "a=1", "[]", True),
        ("http://evil.example", None, "[]", False),
        ("http://{host}.evil.example", None, "[]", False),
        ("null", None, "[]", False),
        ("null", None, '["*"]', False),
        ("not an origin", None, "[]", False),
        ("", None, "[]", False),
        ("https://app.example", None, '["https://app.example"]', True),
        ("http://app.example", None, '["https://app.example"]', False),
        ("https://any.example", None, '["*"]', True),
    ],
)
async def test_origin(
    serve: Serve, open_client: Open, configure: Configure, origin: str, cookie: str, allowed: str, is_accepted: bool
) -> None:
    """
    Pages of the same host and of allowed origins may connect; without an Origin only those without cookies.
    """
    configure(allowed_origins=allowed)
    address = await serve(router_of_named_users())
    headers = {"Cookie": cookie} if cookie else {}
    origin = origin and origin.format(host=address)
    opening = open_client(address, origin=origin, additional_headers=headers)

    if is_accepted:
        await opening
    else:
        assert 403 == (await refusal(opening))[0]


async def test_secrets_are_not_logged(serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture) -> None:
    """
    A token in the query, a cookie, a header, or a message is in no log line, whether accepted or refused.
    """
    for name in ("websockets.client", "uvicorn.error"):  # of the test, and one that traces frames by design
        caplog.set_level(logging.INFO, logger=name)
    caplog.set_level(logging.DEBUG)  # last: it counts for what is captured of all
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> User:
        if "refuse" in query:
            raise HTTPException(401)
        return User("alice")

    @router.on_message
    async def on_message(data: Any) -> None:
        raise SocketError("no")

    address = await serve(router)
    headers = {"Authorization": "Bearer canary", "Cookie": "session=canary"}
    alice = await open_client(address, "/socket?token=canary", origin=f"http://{address}", additional_headers=headers)
    await alice.send({"password": "canary"})
    await alice.receive()
    await socket.to("alice").send("canary")
    await alice.receive_text()
    await refusal(open_client(address, "/socket?refuse=1&token=canary"))

    assert "connection opened" in caplog.text
    assert "handshake refused by the application" in caplog.text
    assert [] == [line for line in caplog.text.splitlines() if "canary" in line]


@pytest.mark.not_on_lowest
async def test_a_full_node_says_so(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    A node with as many connections as it takes answers the next with 503, and says when to come back.
    """
    configure(max_connections_per_node=2)
    app = FastAPI()
    address = await serve(router_of_named_users(), app=app)
    taken = [await open_client(address) for _ in range(2)]

    with pytest.raises(InvalidStatus) as refused:
        await open_client(address)

    assert (503, "5") == (refused.value.response.status_code, refused.value.response.headers["Retry-After"])
    await taken[0].connection.close()
    await taken[1].send("still served")
    assert {"echo": "still served"} == await taken[1].receive()
    node = running_node(app)
    assert node is not None
    await until(lambda: node.sessions == 1)
    await (await open_client(address)).send("served")


@pytest.mark.parametrize("compression", [False, True])
async def test_compression(serve: Serve, open_client: Open, configure: Configure, compression: bool) -> None:
    """
    A client that offers compression gets it under plain uvicorn only if that is set.
    """
    configure(compression=compression)
    client = await open_client(await serve(router_of_named_users()), "/socket?user=alice")
    await socket.to("alice").send("x" * 1000)

    assert compression == bool(client.connection.protocol.extensions)
    assert "x" * 1000 == await client.receive_text()


def test_a_handler_that_asks_for_what_nobody_has() -> None:
    """
    A parameter that neither we nor FastAPI can give is an error where the handler is registered.
    """
    router = SocketRouter("/socket")

    async def on_connect(user: dict[str, str]) -> None: ...

    with pytest.raises(TypeError, match=r"on_connect asks for user: it may ask for client, cookies.*Depends"):
        router.on_connect(on_connect)


def test_one_of_each() -> None:
    """
    A second handler for the same thing is an error where it is registered.
    """
    router = SocketRouter("/socket")
    router.on_connect(lambda: None)

    with pytest.raises(RuntimeError, match="on_connect of the socket router '/socket' is registered already"):
        router.on_connect(lambda: None)


def test_without_a_lifespan(redis_server: Any) -> None:
    """
    Where the application's lifespan does not run, the error says so, and what to do.
    """
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    app = FastAPI()
    app.include_router(router_of_named_users())

    with pytest.raises(RuntimeError, match="lifespan has not started"):
        TestClient(app).get("/socket/ready")


def test_starlettes_test_client(redis_server: Any) -> None:
    """
    An application's own tests may use Starlette's TestClient, which is no uvicorn.
    """
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    app = FastAPI()
    app.include_router(router_of_named_users())

    with TestClient(app) as client, client.websocket_connect("/socket?user=alice") as alice:
        alice.send_json({"n": 1})
        assert {"echo": {"n": 1}} == alice.receive_json()
        assert client.get("/socket/ready").json()["ready"]
