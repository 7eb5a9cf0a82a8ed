"""Tokens that end, and are renewed on the same socket."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from qrsocket import CloseCode, InvalidToken, SocketError, TokenExpired, User, authenticated, socket
from qrsocket.server import SocketRouter
from qrsocket.testing import RequestFailed, client
from tests.app.conftest import Serve
from tests.app.speaking import VERSION_1
from tests.clients import PATIENCE, Open

SOON = 0.3
LATER = 3600.0


def router_of_tokens() -> SocketRouter:
    """A token is `<user> <seconds that it holds>`, by a query or as what `authenticate` gets."""
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> User | None:
        return None if "token" not in query else user_of(query["token"])

    @router.authenticate
    async def authenticate(data: str) -> User:
        return user_of(data)

    @router.on_message
    async def on_message(data: str, user: User) -> str:
        if data == "renew":
            await authenticated(User(user.id, time.time() + LATER))
        return user.id

    return router


def user_of(token: str) -> User:
    name, _, seconds = token.partition(" ")
    if name == "forged":
        raise InvalidToken
    if name == "banned":
        raise SocketError("banned")
    if seconds == "":
        return User(name)
    if name == "expired":
        raise TokenExpired
    return User(name, datetime.now(UTC) + timedelta(seconds=float(seconds)))


@pytest.mark.parametrize("way", ["query", "auth"])
async def test_a_token_ends(serve: Serve, way: str) -> None:
    """
    A connection is closed with 4001 when its user's token ends, and the client is told before.
    """
    token = f"ada {SOON}"
    shown: dict[str, Any] = {"query": {"token": token}} if way == "query" else {"auth": token}
    async with client(f"http://{await serve(router_of_tokens())}", timeout=PATIENCE, **shown) as ada:
        assert "ada" == ada.user
        began = time.monotonic()

        assert CloseCode.TOKEN_EXPIRED == await ada.closed()
        assert time.monotonic() - began < PATIENCE / 2
        assert 1 == ada.transcript.count("< !expiring"), ada.transcript


async def test_a_token_is_renewed(serve: Serve) -> None:
    """
    Renewed for the same user, the connection lives on past the first token's end.
    """
    async with client(f"http://{await serve(router_of_tokens())}", timeout=PATIENCE, auth=f"ada {SOON}") as ada:
        await ada.renew(f"ada {LATER}")
        assert "< !renewed" in ada.transcript
        async with client(f"http://{ada._target.address}", timeout=PATIENCE, auth=f"bob {2 * SOON}") as bob:
            assert CloseCode.TOKEN_EXPIRED == await bob.closed()  # by when ada's first token has ended, too

        assert "ada" == await ada.request("who?")


async def test_a_token_is_renewed_by_a_handler(serve: Serve) -> None:
    """
    `await authenticated(User(…, expires_at=…))` in a message handler renews as well.
    """
    async with client(f"http://{await serve(router_of_tokens())}", timeout=PATIENCE, auth=f"ada {SOON}") as ada:
        await ada.request("renew")
        async with client(f"http://{ada._target.address}", timeout=PATIENCE, auth=f"bob {2 * SOON}") as bob:
            assert CloseCode.TOKEN_EXPIRED == await bob.closed()

        assert "ada" == await ada.request("who?")


async def test_a_token_without_an_end(serve: Serve) -> None:
    """
    A user without an end stays as long as the connection; to renew with one without an end takes the end away.
    """
    async with client(f"http://{await serve(router_of_tokens())}", timeout=PATIENCE, auth=f"ada {SOON}") as ada:
        await ada.renew("ada")
        async with client(f"http://{ada._target.address}", timeout=PATIENCE, auth=f"bob {2 * SOON}") as bob:
            assert CloseCode.TOKEN_EXPIRED == await bob.closed()

        assert "ada" == await ada.request("who?")
        assert '"expires_at":null' in ada.transcript


@pytest.mark.parametrize("proof", ["forged 1", "banned 1", "expired 1", None, 7])
async def test_a_renewal_is_refused(serve: Serve, proof: object) -> None:
    """
    A renewal that is refused is an error, and the old token's end stays what it was.
    """
    async with client(f"http://{await serve(router_of_tokens())}", timeout=PATIENCE, auth=f"ada {2 * SOON}") as ada:
        with pytest.raises(RequestFailed):
            await ada.renew(proof)

        assert "ada" == await ada.request("who?")
        assert CloseCode.TOKEN_EXPIRED == await ada.closed()


async def test_another_user(serve: Serve) -> None:
    """
    A renewal as another user closes the connection with 4100.
    """
    async with client(f"http://{await serve(router_of_tokens())}", timeout=PATIENCE, auth=f"ada {LATER}") as ada:
        with pytest.raises(AssertionError):
            await ada.renew(f"bob {LATER}")
        assert CloseCode.NOT_AUTHENTICATED == await ada.closed()


async def test_nothing_to_renew_with(serve: Serve) -> None:
    """
    Where no `authenticate` is registered a renewal says how to come back.
    """
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect() -> User:
        return User("ada", time.time() + LATER)

    async with client(f"http://{await serve(router)}", timeout=PATIENCE) as ada:
        with pytest.raises(RequestFailed, match="come back with a new cookie or token"):
            await ada.renew("x")
        await socket.to("ada").send(1)
        assert 1 == await ada.receives()


@pytest.mark.parametrize("token", ["ada -1", "expired 1"])
@pytest.mark.parametrize("protocols", [[VERSION_1], None])
async def test_expired_at_the_handshake(
    serve: Serve, open_client: Open, token: str, protocols: list[str] | None
) -> None:
    """
    A token that has ended already is accepted and closed with 4001: a browser sees no code otherwise.
    """
    address = await serve(router_of_tokens())
    quoted = token.replace(" ", "%20")
    client = await open_client(address, f"/socket?token={quoted}", subprotocols=protocols)

    assert CloseCode.TOKEN_EXPIRED == await client.closed()
    assert not await socket.is_online("ada")


@pytest.mark.parametrize(
    ("auth", "code"), [("ada -1", 4001), ("expired 1", 4001), ("forged 1", 4100), ("banned", 4100)]
)
async def test_expired_in_the_first_message(serve: Serve, open_client: Open, auth: str, code: int) -> None:
    """
    So it is when the first message brings it; another refusal is final.
    """
    somebody = await open_client(await serve(router_of_tokens()))
    await somebody.send(auth)

    assert {"error"} == (await somebody.receive()).keys()
    assert code == await somebody.closed()


@pytest.mark.parametrize(
    ("token", "status"), [("ada", 200), ("forged 1", 401), ("expired 1", 401), ("ada -1", 401), ("banned 1", 403)]
)
async def test_by_http(serve: Serve, token: str, status: int) -> None:
    """
    By HTTP a token that is bad or has ended is 401, and what is forbidden 403; without any 401.
    """
    address = await serve(router_of_tokens())
    async with httpx2.AsyncClient(timeout=PATIENCE) as http:
        answer = await http.get(f"http://{address}/socket/jobs", params={"token": token})
        nobody = await http.get(f"http://{address}/socket/jobs")

    assert (status, 401) == (answer.status_code, nobody.status_code)


def test_what_is_no_end() -> None:
    """
    A datetime that says no time zone is refused: it would mean another moment on another machine.
    """
    with pytest.raises(ValueError, match="aware datetime"):
        User("ada", datetime(2030, 1, 1))
