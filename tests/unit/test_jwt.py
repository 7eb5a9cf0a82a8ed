"""Tokens that prove something, and tokens that do not."""

import base64
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import jwt as pyjwt
import pytest

from qrsocket import SocketError, User, jwt
from qrsocket.errors import TokenExpired
from qrsocket.jwt import InvalidToken
from tests.unit.tokens import ED25519, P256, RSA, SECRET, claims, pem, segment, sign

URL = "https://issuer.example.com/keys"


async def check(token: Any, **options: Any) -> dict[str, Any]:
    return await jwt.verify(token, **{"algorithms": ["HS256"], "key": SECRET, **options})


@contextmanager
def wall_clock(monkeypatch: pytest.MonkeyPatch, now: float) -> Iterator[None]:
    class Fixed(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Fixed":
            return cls.fromtimestamp(now, UTC)

    with monkeypatch.context() as patched:
        patched.setattr("jwt.api_jwt.datetime", Fixed)
        yield


@pytest.mark.parametrize(
    ("private", "public", "algorithm"),
    [
        (SECRET, SECRET, "HS256"),
        (SECRET, SECRET.encode(), "HS512"),
        (RSA, pem(RSA), "RS256"),
        (RSA, pem(RSA), "PS384"),
        (P256, pem(P256), "ES256"),
        (ED25519, pem(ED25519), "EdDSA"),
    ],
    ids=["HS256", "HS512", "RS256", "PS384", "ES256", "EdDSA"],
)
async def test_a_good_token_gives_its_claims(private: Any, public: Any, algorithm: str) -> None:
    """
    A token with a right signature and an end in the future gives all its claims.
    """
    payload = claims(role="admin")

    assert payload == await jwt.verify(sign(payload, private, algorithm), algorithms=[algorithm], key=public)


async def test_one_of_several_algorithms() -> None:
    """
    A key that fits several algorithms takes a token of any of them.
    """
    for algorithm in ("RS256", "PS256"):
        token = sign(claims(), RSA, algorithm)

        assert await jwt.verify(token, algorithms=["RS256", "PS256"], key=pem(RSA))


GARBAGE = [
    "",
    "x",
    ".",
    "..",
    "...",
    "a.b.c",
    "🙂.🙂.🙂",
    "\ud800",
    "\x00.\x00.\x00",
    f"{segment(b'[' * 9_000)}.e30.x",
    f"{segment(b'[]')}.e30.x",
    f"{segment(b'null')}.e30.x",
    f"{segment({})}.e30.x",
    f"{segment({'alg': ['HS256']})}.e30.x",
    f"{segment({'alg': None})}.e30.x",
    f"{segment({'alg': 'HS256', 'b64': False, 'crit': ['b64']})}..x",
    "x" * 16 * 1024,
    "x" * 10_000_000,
    "a" * 8_000 + "." + "b" * 8_000 + "." + "c",
]


@pytest.mark.parametrize("token", GARBAGE, ids=lambda token: ascii(token[:20]))
async def test_garbage_is_refused(token: str) -> None:
    """
    What is no token at all raises InvalidToken, however large, deep or odd.
    """
    with pytest.raises(InvalidToken, match=r"^Invalid token$"):
        await check(token)


@pytest.mark.parametrize(
    "token",
    [None, 42, b"a.b.c", sign(claims()).encode(), ["a.b.c"], {"token": "a.b.c"}],
    ids=lambda token: ascii(token)[:10],  # the same in each process: a token is made anew
)
async def test_what_is_no_text_is_refused(token: Any) -> None:
    """
    The first message may hold anything where the token should be.
    """
    with pytest.raises(InvalidToken):
        await check(token)


async def test_the_longest_token() -> None:
    """
    A right token of exactly 16 KiB passes; one byte more is refused before it is parsed.
    """
    empty = len(sign(claims(exp=2_000_000_000, pad="")))
    longest = next(
        token
        for length in range((16 * 1024 - empty) * 3 // 4 - 4, 16 * 1024)
        if len(token := sign(claims(exp=2_000_000_000, pad="x" * length))) >= 16 * 1024
    )
    assert len(longest) in {16 * 1024, 16 * 1024 + 1}, len(longest)
    fits = longest if len(longest) == 16 * 1024 else sign(claims(exp=2_000_000_000, pad="x" * 12_000))

    assert await check(fits)
    with pytest.raises(InvalidToken) as refusal:
        await check(fits + "x" * (16 * 1024 + 1 - len(fits)))
    assert "too long" in str(refusal.value.__cause__)


def tampered(token: str) -> str:
    header, payload, signature = token.split(".")
    changed = json.loads(base64.urlsafe_b64decode(payload + "==")) | {"sub": "mallory"}
    return f"{header}.{segment(changed)}.{signature}"


FORGED = {
    "another secret": lambda: sign(claims(), SECRET[::-1]),
    "another user": lambda: tampered(sign(claims())),
    "no signature": lambda: sign(claims()).rsplit(".", 1)[0] + ".",
    "half a signature": lambda: sign(claims())[:-20],
    "alg none": lambda: f"{segment({'alg': 'none', 'typ': 'JWT'})}.{segment(claims())}.",
    "alg None": lambda: f"{segment({'alg': 'None', 'typ': 'JWT'})}.{segment(claims())}.",
    "another algorithm": lambda: sign(claims(), SECRET, "HS512"),
    "public key as secret": lambda: sign(claims(), RSA, "RS256"),
    "unknown extension": lambda: sign(claims(), crit=["exp"], exp=1),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_a_forged_token_is_refused(forge: Any) -> None:
    """
    A token that was not signed by the one secret with the one algorithm proves nothing.
    """
    with pytest.raises(InvalidToken, match=r"^Invalid token$"):
        await check(forge())


async def test_a_public_key_is_no_secret() -> None:
    """
    A token signed with HMAC and the public key as secret is refused where RSA is expected (CVE-2015-9235).
    """
    header, payload = segment({"alg": "HS256", "typ": "JWT"}), segment(claims())
    hmac = pyjwt.get_algorithm_by_name("HS256")
    forged = f"{header}.{payload}.{segment(hmac.sign(f'{header}.{payload}'.encode(), pem(RSA).encode()))}"

    with pytest.raises(InvalidToken):
        await jwt.verify(forged, algorithms=["RS256"], key=pem(RSA))


@pytest.mark.parametrize(
    "payload",
    [
        {"sub": "alice"},
        {"exp": None},
        {"exp": "soon"},
        {"exp": []},
        {"exp": {}},
        {"exp": 4e9, "nbf": 3.9e9},
        {"exp": 4e9, "iat": 3.9e9},
        {"exp": 4e9, "nbf": "x"},
        {"exp": 4e9, "sub": 42},
    ],
    ids=str,
)
async def test_bad_claims_are_refused(payload: dict[str, Any]) -> None:
    """
    A token without an end, with an odd one, from the future or not yet valid is refused, though its signature is right.
    """
    with pytest.raises(InvalidToken, match=r"^Invalid token$"):
        await check(sign(payload))


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"null", b"{", b'{"exp":1e999}', b'{"exp":NaN}', b'{"exp":-1e999}', b"\xff", b"[" * 9_000],
    ids=lambda payload: ascii(payload[:20]),
)
async def test_an_odd_payload_is_refused(payload: bytes) -> None:
    """
    A payload that is no object, or whose numbers Python cannot count with, is refused and raises nothing else.
    """
    with pytest.raises(InvalidToken):
        await check(sign(payload))


@pytest.mark.parametrize(("leeway", "lives_until"), [(0.0, 1_000), (5.0, 1_005)])
async def test_a_token_ends_at_its_second(leeway: float, lives_until: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A token is taken until just before `exp` plus leeway, and says "Token expired" from then on (RFC 7519, 4.1.4).
    """
    token = sign({"exp": 1_000})
    with wall_clock(monkeypatch, lives_until - 0.001):
        assert {"exp": 1_000} == await check(token, leeway=leeway)

    for now in (lives_until, lives_until + 1_000_000):
        with wall_clock(monkeypatch, now), pytest.raises(InvalidToken, match=r"^Token expired$"):
            await check(token, leeway=leeway)


async def test_a_token_begins_at_its_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A token is refused before `nbf` less leeway, and taken from then on.
    """
    token = sign({"exp": 4_000_000_000, "nbf": 1_000})
    with wall_clock(monkeypatch, 994), pytest.raises(InvalidToken, match=r"^Invalid token$"):
        await check(token, leeway=5)
    with wall_clock(monkeypatch, 995):
        assert await check(token, leeway=5)


async def test_an_expired_forgery_is_only_invalid() -> None:
    """
    "Token expired" is said of real tokens only: nobody learns from it about one that he made up.
    """
    with pytest.raises(InvalidToken, match=r"^Invalid token$"):
        await check(sign({"exp": 1}, SECRET[::-1]))


@pytest.mark.parametrize(
    ("token_has", "expected", "taken"),
    [
        ({"aud": "me"}, {"audience": "me"}, True),
        ({"aud": ["me", "you"]}, {"audience": "me"}, True),
        ({"aud": "you"}, {"audience": "me"}, False),
        ({"aud": "me too"}, {"audience": "me"}, False),
        ({"aud": "m"}, {"audience": "me"}, False),
        ({"aud": "ME"}, {"audience": "me"}, False),
        ({"aud": ["you"]}, {"audience": "me"}, False),
        ({"aud": []}, {"audience": "me"}, False),
        ({"aud": ""}, {"audience": "me"}, False),
        ({"aud": {"me": 1}}, {"audience": "me"}, False),
        ({"aud": [["me"]]}, {"audience": "me"}, False),
        ({}, {"audience": "me"}, False),
        ({"iss": "https://a"}, {"issuer": "https://a"}, True),
        ({"iss": "https://a"}, {"issuer": ["https://b", "https://a"]}, True),
        ({"iss": "https://a"}, {}, True),
        ({"iss": "https://"}, {"issuer": "https://a"}, False),
        ({"iss": "https://a/"}, {"issuer": "https://a"}, False),
        ({"iss": ""}, {"issuer": "https://a"}, False),
        ({"iss": ["https://a"]}, {"issuer": "https://a"}, False),
        ({"iss": "a"}, {"issuer": ["https://a"]}, False),
        ({}, {"issuer": "https://a"}, False),
    ],
    ids=str,
)
async def test_audience_and_issuer_are_exact(token_has: dict[str, Any], expected: dict[str, Any], taken: bool) -> None:
    """
    What is asked for must be there and equal, letter by letter; of a list of audiences one must be.
    """
    token = sign(claims(**token_has))

    if taken:
        assert token_has.items() <= (await check(token, **expected)).items()
    else:
        with pytest.raises(InvalidToken, match=r"^Invalid token$"):
            await check(token, **expected)


async def test_an_audience_that_nobody_checks_is_a_mistake() -> None:
    """
    A real token for somebody else must not be taken because the check was forgotten; a forged one says nothing of it.
    """
    with pytest.raises(ValueError, match="pass audience="):
        await check(sign(claims(aud="somebody else")))
    with pytest.raises(InvalidToken):
        await check(sign(claims(aud="somebody else"), SECRET[::-1]))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"algorithms": []}, "algorithms must be a list"),
        ({"algorithms": "HS256"}, "algorithms must be a list"),
        ({"algorithms": ["none"]}, "algorithms must be a list"),
        ({"algorithms": ["HS256", "none"]}, "algorithms must be a list"),
        ({"algorithms": ["None"]}, "algorithms must be a list"),
        ({"algorithms": ["hs256"]}, "algorithms must be a list"),
        ({"algorithms": [""]}, "algorithms must be a list"),
        ({"algorithms": ["HS256", "RS256"]}, "choose one kind"),
        ({"key": None}, "either key or jwks_url"),
        ({"jwks_url": URL}, "either key or jwks_url"),
        ({"key": None, "jwks_url": URL}, "are public"),
        ({"key": None, "jwks_url": "http://issuer.example.com/keys", "algorithms": ["RS256"]}, "must be https"),
        ({"key": None, "jwks_url": "http://127.0.0.1@evil.example.com/", "algorithms": ["RS256"]}, "must be https"),
        ({"key": None, "jwks_url": "http://127.0.0.1.evil.example.com/", "algorithms": ["RS256"]}, "must be https"),
        ({"key": None, "jwks_url": "file:///etc/keys", "algorithms": ["RS256"]}, "must be https"),
        ({"key": None, "jwks_url": "https:///keys", "algorithms": ["RS256"]}, "must be https"),
        ({"key": None, "jwks_url": "", "algorithms": ["RS256"]}, "must be https"),
        ({"audience": ""}, "must not be empty"),
        ({"issuer": ""}, "must not be empty"),
        ({"issuer": []}, "must not be empty"),
        ({"issuer": ["https://a", ""]}, "must not be empty"),
        ({"leeway": -1}, "leeway"),
        ({"leeway": float("nan")}, "leeway"),
        ({"leeway": float("inf")}, "leeway"),
        ({"key": ""}, "the key is none for HS256"),
        ({"key": "short"}, "below the minimum"),
        ({"key": "x" * 32, "algorithms": ["HS512"]}, "below the minimum"),
        ({"key": pem(RSA)}, "the key is none for HS256"),
        ({"key": "no PEM", "algorithms": ["RS256"]}, "the key is none for RS256"),
        ({"key": pem(P256), "algorithms": ["RS256"]}, "the key is none for RS256"),
        ({"key": pem(RSA), "algorithms": ["RS256", "ES256"]}, "the key is none for ES256"),
        ({"key": pem(P256), "algorithms": ["ES384"]}, "the key is none for ES384"),
    ],
    ids=lambda value: re.sub(r"-----BEGIN.*?END PUBLIC KEY-----", "PEM", str(value)),  # the keys are made anew
)
async def test_arguments_that_make_no_safe_check(options: dict[str, Any], text: str) -> None:
    """
    A developer's mistake is a ValueError before anything is verified, also with a right token; it is no bad token.
    """
    with pytest.raises(ValueError, match=text) as mistake:
        await check(sign(claims()), **options)

    assert not isinstance(mistake.value, SocketError)


async def test_the_client_learns_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """
    The text for the client says no more than "Invalid token"; the developer finds the cause, and nothing is logged.
    """
    token = sign(claims(aud="canary", iss="canary"))
    with caplog.at_level(logging.DEBUG), pytest.raises(InvalidToken) as refusal:
        await check(token, audience="me", issuer="https://a")

    assert isinstance(refusal.value, SocketError)
    assert "Invalid token" == refusal.value.message == str(refusal.value)
    assert isinstance(refusal.value.__cause__, pyjwt.InvalidTokenError)
    assert "canary" not in f"{refusal.value.__cause__}{caplog.text}"


async def user(token: Any, **options: Any) -> User:
    return await jwt.user(token, **{"algorithms": ["HS256"], "key": SECRET, **options})


@pytest.mark.parametrize("exp", [4_000_000_000, 4_000_000_000.75, "4000000000"], ids=repr)
@pytest.mark.parametrize("leeway", [0.0, 5.0])
async def test_the_user_of_a_token(exp: Any, leeway: float) -> None:
    """
    A user is its `sub`, for as long as `verify` would take the token: until `exp` in whole seconds, plus leeway.
    """
    found = await user(sign({"sub": "alice", "exp": exp}), leeway=leeway)

    assert ("alice", 4_000_000_000 + leeway) == (found.id, found.expires)


@pytest.mark.parametrize(("iat", "issued"), [(1_700_000_000, 1_700_000_000), (1.5e9 + 0.5, 1.5e9 + 0.5), (None, 0)])
@pytest.mark.parametrize("leeway", [0.0, 5.0])
async def test_when_the_token_of_a_user_was_issued(iat: float | None, issued: float, leeway: float) -> None:
    """
    A user was issued at `iat`, or before by what the issuer's clock may be ahead; without one it is not known.
    """
    found = await user(sign(claims(**({} if iat is None else {"iat": iat}))), leeway=leeway)

    assert (issued and issued - leeway) == found.issued


@pytest.mark.parametrize("changed", [{"sub": None}, {"sub": 7}, {"sub": ""}, {"sub": "a\nb"}, {"sub": "x" * 257}])
async def test_a_token_that_names_no_user(changed: dict[str, Any]) -> None:
    """
    Without a `sub`, or with one that cannot name a user, it proves nothing.
    """
    with pytest.raises(InvalidToken):
        await user(sign(claims(**changed)))
    without = claims()
    del without["sub"]
    with pytest.raises(InvalidToken):
        await user(sign(without))


async def test_the_user_of_a_token_is_checked_as_its_claims_are() -> None:
    """
    Expired, forged and for somebody else: as `verify` says.
    """
    with pytest.raises(TokenExpired):
        await user(sign(claims(exp=1)))
    with pytest.raises(InvalidToken):
        await user(tampered(sign(claims())))
    with pytest.raises(InvalidToken):
        await user(sign(claims(aud="them")), audience="us")
    with pytest.raises(ValueError, match="the token has an audience"):
        await user(sign(claims(aud="us")))
    assert User("alice") == await user(sign(claims(aud="us", iss="me")), audience="us", issuer="me")
