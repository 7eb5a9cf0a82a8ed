"""Signatures of what processes tell each other through Redis: who may only write there cannot speak for them."""

import hmac
import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import TypeAlias

from pydantic import SecretStr

from qrsocket.logger import Logger
from qrsocket.streams import Stream

logger = Logger(__name__)

UNSIGNED = "unsigned"
# As long as what `openssl rand -hex 16` prints, at least: a key that people make up can be guessed from one signature.
KEY = re.compile(r"[!-+\--~]{32,}")
# Of 256 bits so many are sent: enough that nobody finds one by trying (RFC 2104, 5).
SIGNATURE_BYTES = 16

# What the signatures of one message have in common: made once, for however many streams.
Content: TypeAlias = bytes


def read_keys(written: object) -> tuple[SecretStr, ...]:
    """
    Return the keys in text, with commas between them, or in a collection.

    Raises:
        ValueError: One of them is no key. The text does not show it.
    """
    listed = written.split(",") if isinstance(written, str) and written else written or ()
    if not isinstance(listed, list | tuple):
        raise ValueError("must be keys, with commas between them")
    keys = [key.get_secret_value() if isinstance(key, SecretStr) else str(key).strip() for key in listed]
    for number, key in enumerate(keys, start=1):
        if key != UNSIGNED and not KEY.fullmatch(key):
            raise ValueError(
                f"key {number} of {len(keys)} must be 32 or more visible ASCII characters without commas, as "
                f"`openssl rand -hex 32` prints them, or the word {UNSIGNED}"
            )
    if keys == [UNSIGNED]:
        raise ValueError("unsigned is only for introducing or removing a key: add a key, or leave it out")
    return tuple(map(SecretStr, keys))


class Ring:
    """
    The keys of a process: it signs by the first, and takes what was signed by any.

    One of them may be `unsigned`: then it sends, or takes, what has no signature.
    """

    __slots__ = ("_domain", "_keys", "_signs", "_takes_unsigned")

    def __init__(self, keys: Sequence[str], domain: str) -> None:
        """
        Args:
            domain: What was signed in one counts in no other.
        """
        self._keys = [key.encode() for key in keys if key != UNSIGNED]
        self._signs, self._takes_unsigned = keys[0] != UNSIGNED, UNSIGNED in keys
        self._domain = domain

    def content(self, kind: str, options: str, payload: bytes) -> Content:
        return f"{self._domain}\t{kind}\t{options}\t".encode() + sha256(payload).digest()

    def sign(self, content: Content, stream: Stream) -> str:
        """Return the signature of a message for *stream*, in hexadecimal digits; "" if this process does not sign."""
        return _signature(self._keys[0], content, stream) if self._signs else ""

    def is_genuine(self, content: Content, stream: Stream, signature: str) -> bool:
        """Tell whether a process with one of these keys has sent the message to *stream*. If not, it is logged."""
        if not signature and self._takes_unsigned:
            return True
        given = signature.encode()
        if any(hmac.compare_digest(_signature(key, content, stream).encode(), given) for key in self._keys):
            return True
        text = "message refused: no key of QRSOCKET_SIGNING_KEYS matches its signature, or it was changed"
        logger.warning(text, stream=stream)
        return False


@lru_cache(maxsize=8)
def ring_of(keys: tuple[SecretStr, ...], domain: str) -> Ring | None:
    """Return the ring of *keys*; None if there are none: then nothing is signed, and nothing looked at."""
    return Ring([key.get_secret_value() for key in keys], domain) if keys else None


def _signature(key: bytes, content: Content, stream: Stream) -> str:
    # Each word before the digest ends with a tab and holds none, and the digest has 32 bytes: where one part ends and
    # the next begins is certain.
    return hmac.digest(key, content + stream.encode(), "sha256")[:SIGNATURE_BYTES].hex()
