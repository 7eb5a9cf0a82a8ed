"""Who a client is: the user that the test names, or whom the application takes it for."""

import asyncio
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from qrsocket import InvalidUserId, authenticated, socket
from qrsocket.context import NOBODY, current, running_for
from qrsocket.testing import Refused, client
from tests.testing import shops

pytestmark = pytest.mark.usefixtures("redis_server")


@pytest.mark.parametrize("user", ["alice", "ä\u2028 %;\\\"'", "x" * 256, "😀" * 64, 42, " "])
async def test_named(user: str | int) -> None:
    """
    The connection is the named user's, whatever the application's own authentication would say.
    """
    async with client(shops.echo(), user=user) as someone:
        assert str(user) == someone.user
        await socket.to(user).send({"n": 1})
        await someone.receives({"n": 1})


@pytest.mark.parametrize("user", ["", "a\nb", "x" * 257, b"alice", True])
def test_no_user(user: Any) -> None:
    """
    What cannot name a user is refused before anything is started.
    """
    with pytest.raises(InvalidUserId):
        client(shops.echo(), user=user)


async def test_by_cookie() -> None:
    """
    Without a user the application decides. Cookies, headers and the query are those of a page of its own.
    """
    app = shops.signs_in()
    async with client(app, cookies={"session": "bob"}, headers={"X-Tenant": "acme"}, query={"a": "b c"}) as bob:
        assert "bob" == bob.user
        assert "acme" == app.state.seen["x-tenant"]


async def test_by_first_message() -> None:
    """
    `auth` is what `authenticate` gets.
    """
    async with client(shops.signs_in(), auth={"token": "alice's"}) as alice:
        assert "alice" == alice.user


async def test_not_authenticated() -> None:
    """
    Who is turned away by `authenticate` was connected: the test sees the error and the code.
    """
    async with client(shops.signs_in(), auth={"token": "a guess"}) as stranger:
        await stranger.receives({"error": "unknown token"})
        assert 4100 == await stranger.closed()
        assert stranger.user is None


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        ({"query": {"blocked": 1}}, 403, r'/socket refused the connection: HTTP 403 \{"detail":"blocked"\}'),
        ({"headers": {"Origin": "https://evil.example"}}, 403, "Origin not allowed"),
        ({"path": "/nowhere"}, 403, r"/nowhere refused the connection: HTTP 403: is there a SocketRouter at this path"),
    ],
)
async def test_refused(options: dict[str, Any], status: int, told: str) -> None:
    """
    Who is refused in the handshake never connects; the failure has the status and the body.
    """
    with pytest.raises(Refused, match=told) as refusal:
        async with client(shops.signs_in(), **options):
            pytest.fail("it was let in")
    assert status == refusal.value.status


async def test_a_host() -> None:
    """
    With `Host` in its headers a client asks for that host, whose pages may then connect.
    """
    app = shops.signs_in()
    async with client(app, headers={"Host": "app.example.com"}, cookies={"session": "bob"}):
        assert "app.example.com" == app.state.seen["host"]
        assert "http://app.example.com" == app.state.seen["origin"]


async def test_http() -> None:
    """
    An HTTP request of the client is one of its user, and the application does not see how.
    """
    async with client(shops.echo(), user="alice", headers={"X-Tenant": "acme"}) as alice:
        seen = (await alice.http.get("/send")).json()
        await alice.receives({"over": "http"})
        async with httpx2.AsyncClient(trust_env=False) as own:
            await own.get(f"{alice.url}/send", headers=alice.headers)
        await alice.receives({"over": "http"})

    assert "x-tenant" in seen
    assert "x-qrsocket-testing" not in seen


async def test_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A proxy that the environment names is not asked for what is on this machine.
    """
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    async with client(shops.echo(), user="alice") as alice:
        await alice.http.get("/send")
        await alice.receives({"over": "http"})


async def test_forged() -> None:
    """
    The header is believed only from clients of this server: another's key opens nothing, nor does it reach the app.
    """
    app = shops.signs_in()
    async with client(shops.echo(), user="alice") as alice, client(app, headers=alice.headers, auth={}) as thief:
        assert 4100 == await thief.closed()
        assert "x-qrsocket-testing" not in app.state.seen


async def test_the_tests_own_user() -> None:
    """
    The application does not work for the user of the test's own context.
    """
    with running_for(NOBODY):
        await authenticated("the test")
        async with client(shops.anonymous()) as nobody:
            assert nobody.user is None
        assert "the test" == current().user


async def test_a_wrapped_application() -> None:
    """
    An application inside another ASGI application is served too; its path is then the usual one, or is said.
    """
    inner = shops.echo()

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)

    with pytest.raises(Refused, match="/socket refused"):
        async with client(outer, user="alice"):
            pytest.fail("it was let in")
    async with client(outer, user="alice", path="/v1/live") as alice:
        await alice.send(1)
        await alice.receives(1)


async def test_no_socket_router() -> None:
    """
    A WebSocket that is none of ours is told from one.
    """

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        assert "websocket" == scope["type"]
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    with pytest.raises(AssertionError, match=r"does not speak qrsocket\.v1"):
        async with client(other):
            pytest.fail("it was let in")


async def test_no_answer() -> None:
    """
    An application that does not answer the handshake in time is told so.
    """

    async def asleep(scope: Scope, receive: Receive, send: Send) -> None:
        assert "websocket" == scope["type"]
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match=r"/socket did not answer the handshake within 0\.05 s"):
        async with client(asleep, timeout=0.05):
            pytest.fail("it was let in")
