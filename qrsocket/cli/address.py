"""The address of Redis: as it may be shown, and as Celery takes it."""

from urllib.parse import parse_qs, urlsplit

from qrsocket.settings import Settings


def shown(url: str) -> str:
    """Return *url* without user, password and query, which may hold a password too; of a misshapen one, the scheme."""
    scheme = url.partition("://")[0]
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where a "/" in a password has cut it in two
    except ValueError:
        return f"{scheme}://***"
    if "@" in parts.path + parts.query + parts.fragment:
        return f"{scheme}://***"
    secret, at, place = parts.netloc.rpartition("@")
    return f"{scheme}://{'***' if secret else ''}{at}{place}{parts.path}"


def named(settings: Settings) -> str:
    """Say where Redis is looked for: beside `qrsocket dev` it is elsewhere than by default."""
    default = "" if "redis_url" in settings.model_fields_set else " (the default: QRSOCKET_REDIS_URL is not set)"
    return f"{shown(settings.redis_url.get_secret_value())}{default}"


def for_celery(url: str) -> str:
    """
    Return *url* (redis://, rediss:// or unix://) for Celery's broker and result backend.

    Source: https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":
        database = parse_qs(parts.query).get("db", ["0"])[0]
        return f"redis+socket://{parts.path}?virtual_host={database}"
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in parse_qs(parts.query):
        return f"{url}{'&' if parts.query else '?'}ssl_cert_reqs=CERT_REQUIRED"  # Celery wants it said
    return url
