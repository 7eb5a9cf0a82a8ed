"""Keys that a provider publishes: fetched once, found when new, and never an attacker's to have fetched."""

import asyncio
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from qrsocket import SocketError, jwks, jwt
from qrsocket.jwt import InvalidToken, KeysUnavailable
from tests.clients import PATIENCE
from tests.unit.tokens import ED25519, OTHER_RSA, P256, RSA, SECRET, Provider, claims, segment, sign


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    provider = Provider()
    thread = Thread(target=provider.server.serve_forever, args=(0.01,))
    thread.start()
    yield provider
    provider.may_answer.set()
    provider.server.shutdown()
    provider.server.server_close()
    thread.join()


class Clock:
    """The clock of the cache; a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(jwks, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("private", "algorithm", "members"),
    [
        (RSA, "RS256", {"alg": "RS256"}),
        (RSA, "RS512", {}),
        (RSA, "PS256", {"use": "sig"}),
        (P256, "ES256", {}),
        (ED25519, "EdDSA", {}),
    ],
    ids=["RS256", "RS512", "PS256", "ES256", "EdDSA"],
)
async def test_a_published_key(provider: Provider, private: Any, algorithm: str, members: dict[str, Any]) -> None:
    """
    A token is verified with the key of its id from the provider's set, with or without the `alg` that a key may name.
    """
    provider.publish(OTHER_RSA, kid="other")
    provider.publish(private, kid="k1", **members)
    token = sign(claims(), private, algorithm, kid="k1")

    assert "alice" == (await jwt.verify(token, algorithms=[algorithm], jwks_url=provider.url))["sub"]


async def test_keys_are_fetched_once(provider: Provider) -> None:
    """
    Many tokens at once, of several keys, are one request to the provider.
    """
    provider.publish(RSA, kid="k1")
    provider.publish(OTHER_RSA, kid="k2")
    tokens = [sign(claims(), key, "RS256", kid=kid) for key, kid in ((RSA, "k1"), (OTHER_RSA, "k2")) * 10]

    for _ in range(2):
        await asyncio.gather(*(jwt.verify(token, algorithms=["RS256"], jwks_url=provider.url) for token in tokens))

    assert 1 == provider.requests


@pytest.mark.parametrize(
    "header",
    [{}, {"kid": None}, {"kid": ""}, {"kid": 1}, {"kid": ["k1"]}, {"kid": "K1"}, {"kid": "k1 "}, {"kid": "../k1"}],
    ids=str,
)
async def test_an_unknown_key_id_is_refused(provider: Provider, header: dict[str, Any]) -> None:
    """
    Without the id of a published key a token is refused, though one of the keys would fit.
    """
    provider.publish(RSA, kid="k1")
    text = segment({"alg": "RS256", **header}) + "." + segment(claims())
    signature = pyjwt.get_algorithm_by_name("RS256").sign(text.encode(), RSA)

    with pytest.raises(InvalidToken):
        await jwt.verify(f"{text}.{segment(signature)}", algorithms=["RS256"], jwks_url=provider.url)


@pytest.mark.parametrize(
    "published",
    [
        {"alg": "RS512"},
        {"use": "enc"},
        {"kty": "oct", "k": segment(SECRET.encode())},
        {"kty": "EC"},
        {"kty": None},
        {"n": "x"},
        {"n": None},
        {"e": "AQ"},
        {"kid": 1},
        {"kid": ["k1"]},
    ],
    ids=str,
)
async def test_a_published_key_that_is_not_for_this(provider: Provider, published: dict[str, Any]) -> None:
    """
    A key for another algorithm or use, of another kind, broken or weak verifies nothing, and breaks nothing.
    """
    provider.publish(RSA, **{"kid": "k1", **published})
    provider.publish(OTHER_RSA, kid="k2")
    fine = sign(claims(), OTHER_RSA, "RS256", kid="k2")

    with pytest.raises(InvalidToken):
        await jwt.verify(sign(claims(), RSA, "RS256", kid="k1"), algorithms=["RS256"], jwks_url=provider.url)
    assert await jwt.verify(fine, algorithms=["RS256"], jwks_url=provider.url)


async def test_a_published_secret_signs_nothing(provider: Provider) -> None:
    """
    A symmetric key in the set, which everyone can read, does not make a token that claims to be RS256.
    """
    provider.keys.append({"kty": "oct", "kid": "k1", "k": segment(SECRET.encode())})
    text = segment({"alg": "RS256", "kid": "k1"}) + "." + segment(claims())
    forged = f"{text}.{segment(pyjwt.get_algorithm_by_name('HS256').sign(text.encode(), SECRET.encode()))}"

    with pytest.raises(InvalidToken):
        await jwt.verify(forged, algorithms=["RS256"], jwks_url=provider.url)


async def test_a_new_key_is_found(provider: Provider, clock: Clock) -> None:
    """
    A token of a key that the provider added is taken, once 10 s have passed since we last asked.
    """
    provider.publish(RSA, kid="old")
    await jwt.verify(sign(claims(), RSA, "RS256", kid="old"), algorithms=["RS256"], jwks_url=provider.url)
    provider.publish(OTHER_RSA, kid="new")
    token = sign(claims(), OTHER_RSA, "RS256", kid="new")

    clock.now += 9.9
    with pytest.raises(InvalidToken):
        await jwt.verify(token, algorithms=["RS256"], jwks_url=provider.url)
    clock.now += 0.1
    assert await jwt.verify(token, algorithms=["RS256"], jwks_url=provider.url)
    assert 2 == provider.requests


async def test_made_up_key_ids_do_not_hammer_the_provider(provider: Provider, clock: Clock) -> None:
    """
    A hundred tokens with random ids cost one request each 10 s, and real users do not notice.
    """
    provider.publish(RSA, kid="k1")
    real = sign(claims(), RSA, "RS256", kid="k1")
    await jwt.verify(real, algorithms=["RS256"], jwks_url=provider.url)

    for number in range(100):
        clock.now += 0.2
        with pytest.raises(InvalidToken):
            await jwt.verify(sign(claims(), kid=f"{number}"), algorithms=["RS256"], jwks_url=provider.url)
        forged = sign(claims(), OTHER_RSA, "RS256", kid=f"{number}")
        with pytest.raises(InvalidToken):
            await jwt.verify(forged, algorithms=["RS256"], jwks_url=provider.url)
        assert await jwt.verify(real, algorithms=["RS256"], jwks_url=provider.url)

    assert 3 == provider.requests  # at 0, 10 and 20 s


async def test_a_key_that_was_taken_back_ends(provider: Provider, clock: Clock) -> None:
    """
    Keys are asked for again after an hour, so that one that the provider has withdrawn is trusted no longer.
    """
    provider.publish(RSA, kid="k1")
    token = sign(claims(), RSA, "RS256", kid="k1")
    await jwt.verify(token, algorithms=["RS256"], jwks_url=provider.url)
    provider.keys.clear()

    clock.now += 3_599
    assert await jwt.verify(token, algorithms=["RS256"], jwks_url=provider.url)
    clock.now += 1
    with pytest.raises(InvalidToken):
        await jwt.verify(token, algorithms=["RS256"], jwks_url=provider.url)


async def test_two_providers_keep_apart(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A key is known by URL and id: the same id at another provider is another key.
    """
    provider.publish(RSA, kid="k1")
    other = f"{provider.url}/other"
    token = sign(claims(), RSA, "RS256", kid="k1")
    await jwt.verify(token, algorithms=["RS256"], jwks_url=provider.url)
    provider.keys.clear()
    provider.publish(OTHER_RSA, kid="k1")

    with pytest.raises(InvalidToken):
        await jwt.verify(token, algorithms=["RS256"], jwks_url=other)
    assert await jwt.verify(token, algorithms=["RS256"], jwks_url=provider.url)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"oops"),
        (404, b'{"keys":[]}'),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"keys":{}}'),
        (200, b"\xff"),
        (200, b"[" * 100_000),
    ],
    ids=lambda value: ascii(value)[:24],
)
async def test_a_provider_that_answers_nonsense(provider: Provider, status: int, body: bytes) -> None:
    """
    Errors and what is no key set raise KeysUnavailable with the host: the token may be fine.
    """
    provider.status, provider.body = status, body
    host = f"127.0.0.1:{provider.server.server_port}"

    with pytest.raises(KeysUnavailable, match=f"cannot fetch the keys of {host}: .") as unavailable:
        await jwt.verify(
            sign(claims(), RSA, "RS256", kid="k1"), algorithms=["RS256"], jwks_url=f"{provider.url}?canary"
        )

    assert not isinstance(unavailable.value, SocketError)
    assert "canary" not in str(unavailable.value)
    assert 1 == provider.requests


async def test_a_redirect_is_not_followed(provider: Provider) -> None:
    """
    Keys come from where the developer said: a redirect could lead from https to anywhere.
    """
    provider.publish(RSA, kid="k1")
    token = sign(claims(), RSA, "RS256", kid="k1")

    with pytest.raises(KeysUnavailable, match="302"):
        await jwt.verify(token, algorithms=["RS256"], jwks_url=f"{provider.url}/moved")
    assert 1 == provider.requests


async def test_a_provider_that_never_ends(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An answer that comes byte by byte, each in time, is given up as one that does not come.
    """
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 0.2)
    provider.never_ends = True

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(KeysUnavailable, match="TimeoutError"):
            await jwt.verify(sign(claims(), RSA, "RS256", kid="k1"), algorithms=["RS256"], jwks_url=provider.url)
    provider.never_ends = False


async def test_a_weak_published_key(provider: Provider) -> None:
    """
    A key that can be broken, RSA of 1024 bits say, verifies nothing.
    """
    weak = rsa.generate_private_key(65537, 1024)
    provider.publish(weak, kid="k1")
    text = segment({"alg": "RS256", "kid": "k1"}) + "." + segment(claims())
    signature = pyjwt.get_algorithm_by_name("RS256").sign(text.encode(), weak)

    with pytest.raises(InvalidToken):
        await jwt.verify(f"{text}.{segment(signature)}", algorithms=["RS256"], jwks_url=provider.url)


async def test_an_unreachable_provider(provider: Provider, clock: Clock) -> None:
    """
    Where nobody listens KeysUnavailable is raised; known keys still serve, and a provider that is back is found in 1 s.
    """
    provider.publish(RSA, kid="k1")
    known = sign(claims(), RSA, "RS256", kid="k1")
    unknown = sign(claims(), OTHER_RSA, "RS256", kid="k2")
    await jwt.verify(known, algorithms=["RS256"], jwks_url=provider.url)
    provider.status = 503

    clock.now += 10
    for _ in range(5):
        with pytest.raises(KeysUnavailable, match="503"):
            await jwt.verify(unknown, algorithms=["RS256"], jwks_url=provider.url)
    assert await jwt.verify(known, algorithms=["RS256"], jwks_url=provider.url)
    while_down = provider.requests
    provider.status = 200
    provider.publish(OTHER_RSA, kid="k2")
    clock.now += 1
    assert await jwt.verify(unknown, algorithms=["RS256"], jwks_url=provider.url)

    assert (2, 3) == (while_down, provider.requests)


async def test_nobody_listens() -> None:
    """
    A refused connection is KeysUnavailable.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    port = server.server_port
    server.server_close()

    with pytest.raises(KeysUnavailable):
        await jwt.verify(
            sign(claims(), RSA, "RS256", kid="k1"), algorithms=["RS256"], jwks_url=f"http://127.0.0.1:{port}/"
        )


async def test_a_slow_provider_holds_up_nobody_else(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While the provider thinks, the event loop goes on; one that never answers is given up.
    """
    provider.may_answer.clear()
    token = sign(claims(), RSA, "RS256", kid="k1")
    waiting = asyncio.create_task(jwt.verify(token, algorithms=["RS256"], jwks_url=provider.url))
    await asyncio.to_thread(provider.asked.wait, PATIENCE)

    assert await jwt.verify(sign(claims()), algorithms=["HS256"], key=SECRET)
    assert not waiting.done()
    provider.publish(RSA, kid="k1")
    provider.may_answer.set()
    assert await waiting

    provider.may_answer.clear()
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 0.05)
    with pytest.raises(KeysUnavailable):
        await jwt.verify(token, algorithms=["RS256"], jwks_url=f"{provider.url}/silent")
    provider.may_answer.set()


async def test_who_asked_first_may_go_away(provider: Provider) -> None:
    """
    A client that leaves while the keys are fetched neither stops the fetch for the others nor causes another.
    """
    provider.publish(RSA, kid="k1")
    provider.may_answer.clear()
    token = sign(claims(), RSA, "RS256", kid="k1")
    first, second = (
        asyncio.create_task(jwt.verify(token, algorithms=["RS256"], jwks_url=provider.url)) for _ in range(2)
    )
    await asyncio.to_thread(provider.asked.wait, PATIENCE)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    provider.may_answer.set()

    assert "alice" == (await second)["sub"]
    assert first.cancelled()
    assert 1 == provider.requests


def test_each_event_loop_fetches_for_itself(provider: Provider) -> None:
    """
    Keys and waiting belong to a loop: another loop, later or in another thread, works as the first did.
    """
    provider.publish(RSA, kid="k1")
    token = sign(claims(), RSA, "RS256", kid="k1")

    for _ in range(2):
        assert asyncio.run(jwt.verify(token, algorithms=["RS256"], jwks_url=provider.url))
    assert 2 == provider.requests


GOOGLE_CLAIMS = {"iss": "https://accounts.google.com", "aud": "me.apps.googleusercontent.com", "sub": "1234567890"}


@pytest.fixture
def google(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Provider:
    monkeypatch.setattr(jwt, "GOOGLE_JWKS_URL", provider.url)
    provider.publish(RSA, kid="k1", alg="RS256")
    return provider


@pytest.mark.parametrize("issuer", ["https://accounts.google.com", "accounts.google.com"])
async def test_a_google_token(google: Provider, issuer: str) -> None:
    """
    An ID token for our client id gives its claims, under both names that Google gives itself.
    """
    token = sign(claims(**GOOGLE_CLAIMS | {"iss": issuer}), RSA, "RS256", kid="k1")

    assert "1234567890" == (await jwt.google(token, client_id=GOOGLE_CLAIMS["aud"]))["sub"]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"aud": "another.apps.googleusercontent.com"}, "Invalid token"),
        ({"aud": None}, "Invalid token"),
        ({"iss": "https://accounts.google.com.evil.example.com"}, "Invalid token"),
        ({"iss": None}, "Invalid token"),
        ({"exp": 1}, "Token expired"),
        ({"exp": None}, "Invalid token"),
    ],
    ids=str,
)
async def test_a_google_token_that_is_not_for_us(google: Provider, changed: dict[str, Any], text: str) -> None:
    """
    Another site's token, another issuer's or an old one is refused.
    """
    payload = claims(**GOOGLE_CLAIMS) | changed
    token = sign({name: value for name, value in payload.items() if value is not None}, RSA, "RS256", kid="k1")

    with pytest.raises(InvalidToken, match=f"^{text}$"):
        await jwt.google(token, client_id=GOOGLE_CLAIMS["aud"])


async def test_googles_clock_may_be_ahead(google: Provider) -> None:
    """
    A token that Google issued "in" 5 s is taken.
    """
    token = sign(claims(**GOOGLE_CLAIMS, iat=time.time() + 5), RSA, "RS256", kid="k1")

    assert await jwt.google(token, client_id=GOOGLE_CLAIMS["aud"])


@pytest.mark.parametrize("client_id", ["", None])
async def test_google_needs_the_client_id(google: Provider, client_id: Any) -> None:
    """
    A client id that was not configured would make every site's token ours.
    """
    token = sign(claims(**GOOGLE_CLAIMS), RSA, "RS256", kid="k1")

    with pytest.raises(ValueError, match="client_id must not be empty"):
        await jwt.google(token, client_id=client_id)
    assert 0 == google.requests


def test_google_is_asked_over_https() -> None:
    """
    The keys come from Google, over https.
    """
    assert "https://www.googleapis.com/oauth2/v3/certs" == jwt.GOOGLE_JWKS_URL
