"""Who somebody claims to be: by a page's origin, a token, an id, or a position in what was sent to another."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import quote

import jwt as pyjwt
import pytest
from fastapi import FastAPI

from qrsocket import User, jwt, socket
from qrsocket.server import SocketRouter
from tests.app.conftest import Serve, open_speaker, serve
from tests.app.routers import router_of_named_users
from tests.app.speaking import OpenSpeaker
from tests.attacks.raw import Raw, head
from tests.clients import Open
from tests.unit.tokens import OTHER_RSA, RSA, claims, pem, segment, sign

__all__ = ["open_speaker", "serve"]  # fixtures of the tests of applications

ORIGINS = {
    "another site": "http://evil.example",
    "no site": "null",
    "a site whose name begins like ours": "http://node.evil.example",
    "a site whose name ends like ours": "http://evilnode",
    "another port": "http://node:8080",
    "our name as its user": "http://node@evil.example",
    "our name as its path": "http://evil.example/http://node",
    "our name in other letters": "http://nod\xe9",
    "an empty one": "",
    "two in one": "http://node http://evil.example",
    "a star": "*",
    "a file": "file://",
    "a dot behind it": "http://node.evil.example.",
}


@pytest.mark.parametrize("origin", ORIGINS.values(), ids=ORIGINS)
async def test_a_page_of_another_site(serve: Serve, origin: str) -> None:
    """
    A page that is not ours is answered with 403.
    """
    address = await serve(router_of_named_users())

    assert "403" == await asyncio.to_thread(answer, address, head("/socket?user=alice", origin=origin))


def answer(address: str, words: bytes) -> str:
    with Raw(address) as raw:
        raw.send(words)
        return raw.answer()


def forged(algorithm: str, payload: dict[str, Any], **header: Any) -> str:
    return f"{segment({'alg': algorithm, 'typ': 'JWT', **header})}.{segment(payload)}."


# For as long as all tests may take: one that has expired is answered in another way.
GOOD = {"aud": "app", "iss": "https://issuer.example", "exp": time.time() + 24 * 3600}
TOKENS = {
    "no algorithm": forged("none", claims(**GOOD)),
    "no algorithm, in other letters": forged("nOnE", claims(**GOOD)),
    "another key": sign(claims(**GOOD), OTHER_RSA, "RS256"),
    "another audience": sign(claims(**GOOD | {"aud": "other"}), RSA, "RS256"),
    "no audience": sign(claims(iss=GOOD["iss"], exp=GOOD["exp"]), RSA, "RS256"),
    "another issuer": sign(claims(**GOOD | {"iss": "https://evil.example"}), RSA, "RS256"),
    "no end": sign({"sub": "alice", "aud": GOOD["aud"], "iss": GOOD["iss"]}, RSA, "RS256"),
    "not yet": sign(claims(**GOOD, nbf=time.time() + 3600), RSA, "RS256"),
    "its own key's address": sign(claims(**GOOD), OTHER_RSA, "RS256", jku="http://127.0.0.1:9/keys"),
    "its own key": sign(
        claims(**GOOD),
        OTHER_RSA,
        "RS256",
        jwk=pyjwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA.public_key(), as_dict=True),
    ),
    "no token": "x",
}


def public_key_as_secret() -> str:
    """Sign with the public key as the secret of an HMAC, which PyJWT refuses to do."""
    words = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment(claims(**GOOD))}"
    signature = hmac.digest(pem(RSA).encode(), words.encode(), hashlib.sha256)
    return f"{words}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


TOKENS["the public key as a secret"] = public_key_as_secret()


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
async def test_a_forged_token(serve: Serve, token: str) -> None:
    """
    It is answered with 401, and one that is right with a WebSocket.
    """
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect(token: str) -> User:
        return await jwt.user(token, key=pem(RSA), algorithms=["RS256"], audience="app", issuer=GOOD["iss"])

    address = await serve(router)
    right = sign(claims(**GOOD), RSA, "RS256")

    assert "401" == await asyncio.to_thread(answer, address, head("/socket", f"Authorization: Bearer {token}"))
    with Raw(address) as raw:
        await asyncio.to_thread(raw.open, "/socket", f"Authorization: Bearer {right}")


IDS = ["*", "a:b", "{x}", "u:alice", "..", "a b", "a/b", "%", "[a-z]", "é", "e\u0301", "0", "qrsocket", "null"]


async def test_ids_that_mean_something_elsewhere(serve: Serve, open_client: Open) -> None:
    """
    A user whose id is a pattern, a key's separator, or another spelling gets what is sent to it alone.
    """
    app = FastAPI()
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> User:
        return User(json.loads(query["user"]))

    address = await serve(router, app=app)
    names = ["alice", "b", *IDS]
    clients = {name: await open_client(address, "/socket?user=" + quoted(name)) for name in names}
    for name in names:
        assert 1 == (await socket.to(name).send({"to": name})).connections
    await socket.everyone.send("last")

    for name, client in clients.items():
        assert {"to": name} == await client.receive()
        assert "last" == await client.receive_text()


def quoted(name: str) -> str:
    return quote(json.dumps(name))


@pytest.mark.parametrize("id", ["a\r\nb", "x" * 257, "é" * 129, "\0", "", "\ud800"], ids=ascii)
async def test_ids_that_nobody_may_have(serve: Serve, id: str) -> None:
    """
    An id with a line end, or of more than 256 bytes, is refused with 403.
    """
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect() -> User:
        return User(id)

    assert "403" == await asyncio.to_thread(answer, await serve(router), head())


async def test_another_users_position(serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    A client that says where another user was gets nothing of that one's messages.
    """
    address = await serve(router_of_named_users())
    alice = await open_speaker(address, "alice")
    await alice.hello()
    beginning = alice.position
    for number in range(3):
        await socket.to("alice").send(f"secret {number}")
        await alice.receive()
    mallory = await open_speaker(address, "mallory")
    await mallory.hello(beginning, connection="0" * 32)
    await socket.to("mallory").send("yours")

    frame = await mallory.client.receive_text()
    while "yours" not in str(frame):
        frame = await mallory.client.receive_text()
    assert "secret" not in "".join(mallory.client.transcript)


async def test_a_second_user_on_a_socket(serve: Serve, open_client: Open) -> None:
    """
    A connection that has a user is closed when a handler authenticates another one.
    """
    router = router_of_named_users()

    @router.authenticate
    async def authenticate(data: Any) -> User:
        return User(data)

    client = await open_client(await serve(router), "/socket", subprotocols=["qrsocket.v1"])
    await client.send_text('!hello\n{"auth": "alice"}')
    await client.receive_text()
    await client.send_text('!auth\n{"auth": "bob"}')

    assert 4100 == await client.closed()
