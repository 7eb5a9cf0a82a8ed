"""The keys that a provider publishes: fetched once for each URL, kept for an hour, and looked up by their ids."""

import asyncio
import math
import time
from typing import Any
from urllib.parse import urlsplit

import jwt

from qrsocket.errors import QRSocketError
from qrsocket.per_loop import PerLoop

FETCH_TIMEOUT = 5.0
# A key that its provider has taken back is trusted for this long.
KEYS_MAX_AGE = 3600.0
# Anyone can send tokens with made-up key ids: they must not make us ask the provider each time.
REFETCH_INTERVAL = 10.0
RETRY_INTERVAL = 1.0


class KeysUnavailable(QRSocketError):
    """Raised when the provider's keys could not be fetched, so that a token can be neither trusted nor refused."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(host, reason)
        self.host, self.reason = host, reason

    def __str__(self) -> str:
        return f"cannot fetch the keys of {self.host}: {self.reason}"


async def published_key(url: str, kid: str) -> dict[str, Any] | None:
    """
    Return the key with the id *kid* of those at *url*, as RFC 7517 has it; None if there is none.

    Raises:
        KeysUnavailable: The provider does not answer, and the key is not known from before.
    """
    sets = _sets.get()
    if url not in sets:
        sets[url] = _KeySet(url)
    return await sets[url].find(kid)


class _KeySet:
    """
    The keys behind one URL, for one event loop.

    PyJWT's client fetches: without redirects, which could lead from https to anywhere. It would keep keys, too, but it
    asks a provider that fails for each token, and lets all tokens wait in threads meanwhile.
    """

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_TIMEOUT)
        self._keys: dict[str, dict[str, Any]] = {}
        self._good_until = self._next_fetch = -math.inf
        self._failure = ""
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> dict[str, Any] | None:
        if not self._has(kid):
            if self._fetching is None and time.monotonic() >= self._next_fetch:
                # Not awaited directly: others wait for it too when the first who asked goes away. Ends by its timeout.
                self._fetching = asyncio.create_task(self._fetch(), name="fetch JWKS")
            if self._fetching is not None:
                await asyncio.shield(self._fetching)
        if not self._has(kid) and self._failure:
            raise KeysUnavailable(self._host, self._failure)
        return self._keys[kid] if self._has(kid) else None

    def _has(self, kid: str) -> bool:
        return kid in self._keys and time.monotonic() < self._good_until

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):  # for all of it; the client's is for each piece
                self._keys = _by_id(await asyncio.to_thread(self._client.fetch_data))
        except (OSError, ValueError, RecursionError, jwt.PyJWTError) as error:
            self._failure = str(error) or type(error).__name__
            self._next_fetch = time.monotonic() + RETRY_INTERVAL
        else:
            self._failure = ""
            self._next_fetch = time.monotonic() + REFETCH_INTERVAL
            self._good_until = time.monotonic() + KEYS_MAX_AGE
        finally:
            self._fetching = None


_sets: PerLoop[dict[str, _KeySet]] = PerLoop(dict)


def _by_id(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Source: RFC 7517, section 5"""
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise ValueError("not a JSON Web Key Set")
    return {key["kid"]: key for key in keys if isinstance(key, dict) and _is_for_signatures(key)}


def _is_for_signatures(key: dict[str, Any]) -> bool:
    return isinstance(key.get("kid"), str) and key.get("use", "sig") == "sig"
