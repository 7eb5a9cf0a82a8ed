"""
Who somebody is by a JSON Web Token (RFC 7519): PyJWT, with its dangerous choices taken away.

Source: RFC 8725, JSON Web Token Best Current Practices
"""

import math
from collections.abc import Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

import jwt

from qrsocket.errors import InvalidToken, InvalidUserId, TokenExpired
from qrsocket.jwks import KeysUnavailable, published_key
from qrsocket.users import User, user_id

__all__ = ["InvalidToken", "KeysUnavailable", "TokenExpired", "google", "user", "verify"]

SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})
ASYMMETRIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES256K", "ES384", "ES512", "EdDSA"}
)
MAX_TOKEN_BYTES = 16 * 1024

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

# Source: https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken
GOOGLE_JWKS_URL = "https://www.googleapis.com/oauth2/v3/certs"
GOOGLE_ISSUERS = ("https://accounts.google.com", "accounts.google.com")
# Google's clock and ours differ; without this a token is now and then refused as issued in the future.
GOOGLE_LEEWAY = 10.0


async def verify(
    token: str,
    *,
    algorithms: Sequence[str],
    key: str | bytes | None = None,
    jwks_url: str | None = None,
    audience: str | None = None,
    issuer: str | Sequence[str] | None = None,
    leeway: float = 0.0,
) -> dict[str, Any]:
    """
    Return the claims of *token*, once its signature, its times, its audience and its issuer are verified.

    Args:
        algorithms: What you expect, such as `["RS256"]`; never taken from the token. Either HMAC (HS…) or public key.
        key: The shared secret, or the public key as PEM.
        jwks_url: Instead of *key*: where the provider publishes its keys. https, or http on this machine.
        audience: The token's `aud` must be this, or a list with it. Needed if the token has one.
        issuer: The token's `iss` must be this, or one of these.
        leeway: Seconds that the issuer's clock may differ from ours.

    Raises:
        InvalidToken: It proves nothing: malformed, forged, or for somebody else; `exp` is required.
        TokenExpired: It did until then.
        KeysUnavailable: *jwks_url* does not answer.
        ValueError: The arguments make no safe check, or the token has an audience and none was given.
    """
    _check_arguments(algorithms, key, jwks_url, audience, issuer, leeway)
    trusted: Any = None if key is None else _fitting(key, algorithms)
    try:
        header = _header(token, algorithms)
        if jwks_url is not None:
            trusted = await _published_key(jwks_url, header)
        claims: dict[str, Any] = jwt.decode(
            token,
            trusted,
            algorithms=[header["alg"]],
            audience=audience,
            issuer=issuer,
            leeway=leeway,
            options={"require": ["exp"], "verify_aud": audience is not None, "enforce_minimum_key_length": True},
        )
    except jwt.ExpiredSignatureError as error:
        raise TokenExpired from error
    except (jwt.PyJWTError, UnicodeEncodeError) as error:  # the latter for half a surrogate pair
        raise InvalidToken from error
    if audience is None and "aud" in claims:
        raise ValueError("the token has an audience: pass audience=..., or a token for another service would do")
    return claims


async def user(
    token: str,
    *,
    algorithms: Sequence[str],
    key: str | bytes | None = None,
    jwks_url: str | None = None,
    audience: str | None = None,
    issuer: str | Sequence[str] | None = None,
    leeway: float = 0.0,
) -> User:
    """
    Return the user of *token*: its `sub`, from its `iat` until its `exp`. Arguments and errors are those of `verify`.

    Raises:
        InvalidToken: Also if it has no `sub` that names a user.
    """
    claims = await verify(
        token,
        algorithms=algorithms,
        key=key,
        jwks_url=jwks_url,
        audience=audience,
        issuer=issuer,
        leeway=leeway,
    )
    try:
        id = user_id(claims.get("sub", ""))
    except InvalidUserId as error:
        raise InvalidToken from error
    # Of an issuer whose clock is ahead, a token from before a revocation must not seem to be from after it.
    issued_at = float(claims["iat"]) - leeway if "iat" in claims else None
    return User(id, int(claims["exp"]) + leeway, issued_at)  # what `verify` compares: of a number in quotes, too


async def google(token: str, *, client_id: str) -> dict[str, Any]:
    """
    Return the claims of an ID token of Google Sign-In that was issued for *client_id*.

    Use `sub` as the user's id: an e-mail address changes hands.

    Raises:
        InvalidToken: See `verify`.
        KeysUnavailable: Google does not answer.
    """
    if not client_id:
        raise ValueError("client_id must not be empty: any site's token would be taken")
    return await verify(
        token,
        algorithms=["RS256"],
        jwks_url=GOOGLE_JWKS_URL,
        audience=client_id,
        issuer=GOOGLE_ISSUERS,
        leeway=GOOGLE_LEEWAY,
    )


def _check_arguments(
    algorithms: Sequence[str],
    key: str | bytes | None,
    jwks_url: str | None,
    audience: str | None,
    issuer: str | Sequence[str] | None,
    leeway: float,
) -> None:
    if not algorithms or not SYMMETRIC | ASYMMETRIC >= set(algorithms):
        raise ValueError(f"algorithms must be a list with some of {', '.join(sorted(SYMMETRIC | ASYMMETRIC))}")
    if SYMMETRIC & set(algorithms) and ASYMMETRIC & set(algorithms):
        raise ValueError("HMAC and public-key algorithms together let a public key pass as a secret: choose one kind")
    if (key is None) == (jwks_url is None):
        raise ValueError("either key or jwks_url must be given")
    if jwks_url is not None and SYMMETRIC & set(algorithms):
        raise ValueError("keys at jwks_url are public: HMAC algorithms need a secret, passed as key")
    if jwks_url is not None:
        _check_url(jwks_url)
    if audience == "" or (issuer is not None and (not issuer or "" in tuple(issuer))):
        raise ValueError("audience and issuer must not be empty")
    if not 0 <= leeway < math.inf:
        raise ValueError("leeway must be 0 or more seconds")


def _check_url(jwks_url: str) -> None:
    url = urlsplit(jwks_url)
    if not (url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)) or not url.hostname:
        raise ValueError("jwks_url must be https: an attacker who changes the keys can sign in as anyone")


def _fitting(key: str | bytes, algorithms: Sequence[str]) -> Any:
    """Parse *key*. One that does not fit is our caller's mistake, and must not read as a bad token."""
    parsed: Any = None
    for name in algorithms:
        algorithm = jwt.get_algorithm_by_name(name)
        try:
            parsed = algorithm.prepare_key(key)
        except (jwt.InvalidKeyError, ValueError, TypeError) as error:
            raise ValueError(f"the key is none for {name}") from error
        if weakness := algorithm.check_key_length(parsed):
            raise ValueError(weakness)
    return parsed


def _header(token: str, algorithms: Sequence[str]) -> dict[str, Any]:
    """Read what the token says of itself. Nothing of it is verified, but that the algorithm is an expected one."""
    if not isinstance(token, str) or len(token) > MAX_TOKEN_BYTES:
        _refuse("no text, or too long")
    header = jwt.get_unverified_header(token)
    if header.get("alg") not in algorithms:
        _refuse("another algorithm")
    return header


def _refuse(reason: str) -> NoReturn:
    raise jwt.InvalidTokenError(reason)


async def _published_key(jwks_url: str, header: dict[str, Any]) -> jwt.PyJWK:
    kid, algorithm = header.get("kid"), header["alg"]
    if not isinstance(kid, str):
        _refuse("no key id")
    key = await published_key(jwks_url, kid)
    if key is None or key.get("alg", algorithm) != algorithm:
        _refuse("no such key")
    # The algorithm is named, or PyJWT would choose one by what the key looks like.
    return jwt.PyJWK(key, algorithm)
