"""The browser's client as an HTTP response: compressed once, and told from its older versions by a tag."""

import gzip
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

BROWSER = Path(__file__).parent.parent / "browser"
# A wheel has both. A checkout has the source alone, which can never be out of date.
PATH = next(path for path in (BROWSER / "client.min.js", BROWSER / "client.js") if path.exists())


@dataclass(frozen=True, slots=True)
class Asset:
    """
    Attributes:
        tag: An entity tag, the same for both forms and therefore weak.

    Source: RFC 9110, section 8.8.3
    """

    content: bytes
    compressed: bytes
    tag: str


@cache
def _client() -> Asset:
    content = PATH.read_bytes()
    return Asset(content, gzip.compress(content, mtime=0), f'W/"{blake2b(content, digest_size=8).hexdigest()}"')


def client_response(request: Request) -> Response:
    """Answer with the client, or with 304 if the browser has this version of it."""
    client = _client()
    headers = {
        "ETag": client.tag,
        "Cache-Control": "no-cache",  # kept, and asked for each time: a new version is never mixed with an old server
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Access-Control-Allow-Origin": "*",  # it is public, and a page of another origin imports it with CORS
    }
    if _names(request.headers.get("If-None-Match", ""), client.tag):
        return Response(status_code=304, headers=headers)
    if _takes_gzip(request.headers.get("Accept-Encoding", "")):
        return Response(
            client.compressed, headers={**headers, "Content-Encoding": "gzip"}, media_type="text/javascript"
        )
    return Response(client.content, headers=headers, media_type="text/javascript")


def _names(tags: str, tag: str) -> bool:
    """Compare as weak tags are compared: proxies that compress may have changed a strong one into ours."""
    told = {one.strip().removeprefix("W/") for one in tags.split(",")}
    return "*" in told or tag.removeprefix("W/") in told


def _takes_gzip(accepted: str) -> bool:
    """Source: RFC 9110, section 12.5.3"""
    weights: dict[str, str] = {}
    for one in accepted.lower().split(","):
        name, _, parameter = one.partition(";")
        weights[name.strip()] = parameter.strip().removeprefix("q=")
    weight = weights.get("gzip", weights.get("*", "0"))
    try:
        return not weight or float(weight) > 0
    except ValueError:
        return False
