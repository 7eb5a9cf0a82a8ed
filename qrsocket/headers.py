"""
The header of a frame: words with single spaces between. The first says what the frame is, the others are `key=value`.

Whoever reads one ignores words that it does not know, so that a newer version may add some.
"""

from collections.abc import Mapping
from string import printable
from urllib.parse import quote, unquote

# What need not be percent-encoded: visible ASCII, without the percent sign.
PLAIN = "".join(set(printable) - set(" \t\n\r\x0b\x0c%"))


def split_frame(frame: str | bytes) -> tuple[str, str | bytes] | None:
    """Return the header of a frame and what follows it; None if it has no header."""
    if isinstance(frame, str):
        header, mark, text = frame.partition("\n")
        return (header, text) if mark else None
    line, end, payload = frame.partition(b"\n")
    return (line.decode(errors="replace"), payload) if end else None


def write_header(first: str, fields: Mapping[str, str]) -> str:
    """Return a header; fields that are empty are left out."""
    return " ".join((first, *words(fields)))


def words(fields: Mapping[str, str]) -> list[str]:
    return [f"{key}={quote(value, safe=PLAIN)}" for key, value in fields.items() if value]


def read_header(header: str) -> tuple[str, dict[str, str]]:
    """
    Return the first word, and the others by their keys.

    Raises:
        ValueError: There is no first word, or more than one space between two.
    """
    first, *others = header.split(" ")
    if not first or "" in others:
        raise ValueError("a header is words with single spaces between")
    return first, read_words(others)


def read_words(words: list[str]) -> dict[str, str]:
    pairs = (word.partition("=") for word in words)
    return {key: unquote(value) for key, mark, value in pairs if mark}
