"""Origins of pages, as people write them, made what browsers send."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic_core import from_json

EVERYONE = "*"
# Python encodes these as in 2003, which makes another domain of the host than browsers do.
# Source: https://www.unicode.org/reports/tr46/#Deviations
ENCODED_OTHERWISE = "ßς\u200c\u200d"
DEFAULT_PORTS = {"http": 80, "https": 443}


def read_all(written: object) -> tuple[str, ...]:
    """
    Return the origins in text (one, several with commas or spaces between, a JSON list) or in a collection.

    Raises:
        ValueError: One can never match. The text names it, and says what to write.
    """
    listed = _listed(written) if isinstance(written, str) else written
    if not isinstance(listed, list | tuple | set | frozenset) or not all(isinstance(one, str) for one in listed):
        raise ValueError("must be origins such as https://app.example.com, with commas between them")
    return tuple(dict.fromkeys(read(one) for one in listed))


def read(written: str) -> str:
    """
    Return one origin as browsers send it.

    Raises:
        ValueError: It can never match.

    Source: https://html.spec.whatwg.org/multipage/browsers.html#ascii-serialisation-of-an-origin
    """
    text = written.strip(" \t\n\"'")  # quotes are a part of the value in a file for `docker run --env-file`
    if text == EVERYONE:
        return text
    shown = "an origin" if "@" in text else f"{text!r}"  # it may hold a password
    scheme, separator, rest = text.partition("://")
    rest = rest.removesuffix("/")
    if text == "null":
        raise ValueError("'null' is every page without an origin, a stranger's too: give the page a host")
    if not separator:
        raise ValueError(f"{shown} has no scheme: write https://{text.removesuffix('/')}")
    if scheme.lower() in {"ws", "wss"}:
        raise ValueError(f"{shown} is not where a page is from: write http{scheme[2:].lower()}://{rest}")
    if "*" in rest:
        raise ValueError(f"{shown} stands for no origin: write each one, or * alone for every site")
    if re.search(r"[/?#@\\\s]", rest):
        raise ValueError(f"{shown} is more than an origin: write the scheme, the host and the port alone")
    return _as_sent(scheme.lower(), rest, shown)


def _listed(text: str) -> object:
    if not text.lstrip().startswith("["):
        return [one for one in re.split(r"[,\s]+", text) if one]
    try:
        return from_json(text)
    except ValueError:
        raise ValueError("is no JSON list: write the origins without brackets, with commas between them") from None


def _as_sent(scheme: str, rest: str, shown: str) -> str:
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host, port = parts.hostname or "", parts.port
        if rest.startswith("["):
            host = f"[{ip_address(host).compressed}]"
        elif not host.isascii():
            host = "" if any(letter in host for letter in ENCODED_OTHERWISE) else host.encode("idna").decode()
    except ValueError:
        host, port = "", None
    if not host:
        raise ValueError(f"{shown} has no host, a port that is no number, or letters to be written as xn--…")
    return f"{scheme}://{host}" if port in (None, DEFAULT_PORTS.get(scheme)) else f"{scheme}://{host}:{port}"
