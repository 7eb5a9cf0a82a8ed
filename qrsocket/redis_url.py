"""The address of Redis, as people and Celery write it, made one that redis-py reads as it is written."""

import re
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

import redis
import redis.asyncio

SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
TRUST = ("none", "optional", "required")
# With another value than ours we would not understand what Redis answers.
OURS = frozenset({"decode_responses", "encoding", "encoding_errors", "protocol", "legacy_responses"})
# What sends commands has a time for each, and what listens has none.
TIMES = frozenset({"socket_timeout", "socket_connect_timeout", "retry_on_timeout", "retry_on_error"})
ESCAPES = "write what is special in a password as %40 for @, %23 for #, %2F for /, %3F for ?, %25 for %"


def read(url: str) -> str:
    """
    Return *url* for redis-py.

    Raises:
        ValueError: It cannot be used, or redis-py would read it otherwise than it is written. The text says what to
            write, and quotes nothing that may be a part of the password.
    """
    scheme, separator, rest = url.strip().partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in SCHEMES:
        raise ValueError("must start with redis://, rediss://, valkey://, valkeys:// or unix://")
    if "#" in rest:  # the start of a fragment, which is not read
        raise ValueError(f"has a #: {ESCAPES}")
    parts = _split(f"{SCHEMES[scheme]}://{rest}")
    options = [_option(parts.scheme, name, value) for name, value in _options(parts)]
    query = urlencode(options, quote_via=quote, safe="/")
    return f"{parts.scheme}://{parts.netloc}{parts.path}{'?' if query else ''}{query}"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises
    except ValueError:
        raise ValueError(f"has a port that is no number; {ESCAPES}") from None
    if "@" in parts.path + parts.query:  # a / or ? in a password has ended the name of the host before it
        raise ValueError(f"has an @ after the host; {ESCAPES}")
    if parts.scheme == "unix":
        if parts.hostname or not parts.path.strip("/"):
            raise ValueError("must name the file of the socket, as unix:///run/redis.sock with three slashes")
    elif not re.fullmatch(r"/?(\d+/?)?", parts.path):
        raise ValueError("has a path that is no number of a database: write redis://host:port/0")
    return parts


def _options(parts: SplitResult) -> list[tuple[str, str]]:
    try:
        return parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(f"has a ? that no name=value follows; {ESCAPES}") from None


def _option(scheme: str, name: str, value: str) -> tuple[str, str]:
    if name == "ssl_cert_reqs":  # Celery writes CERT_NONE
        value = value.lower().removeprefix("cert_")
        if value not in TRUST:
            raise ValueError("must say ssl_cert_reqs=none, optional or required")
    if name in OURS:
        raise ValueError(f"must not say {name}: leave it out")
    if name in TIMES:
        raise ValueError(f"must not say {name}: QRSOCKET_REDIS_TIMEOUT is how long Redis may take")
    alone = f"{scheme}://{'' if scheme == 'unix' else 'h'}/0?{urlencode({name: value})}"
    try:
        for pool in (redis.ConnectionPool, redis.asyncio.BlockingConnectionPool):
            pool.from_url(alone).make_connection()
    except (TypeError, ValueError, redis.RedisError):
        # Of which redis-py would complain at the first connection.
        raise ValueError(f"has an option that {scheme}:// does not take, or not with this value: {name}") from None
    return name, value
