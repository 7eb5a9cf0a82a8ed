"""What the processes of `qrsocket dev` find: a Redis, and its address in their environment."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from qrsocket.cli.address import for_celery, shown
from qrsocket.cli.doctor import check_connection
from qrsocket.cli.failed import Failed, read_settings
from qrsocket.cli.findings import Severity
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis

# `qrsocket why` answers by itself here.
TRAIL_SECONDS = "3600"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    Attributes:
        environment: All of the environment for a process.
        redis: In words, where it is.
        server: Our own server, if it is that.
    """

    environment: dict[str, str]
    redis: str
    server: EmbeddedRedis | None


@contextmanager
def surroundings() -> Iterator[Surroundings]:
    """
    Take the Redis of QRSOCKET_REDIS_URL; where that is not set, run the embedded one until the block ends.

    Raises:
        Failed: It does not answer, or there is none to start.
    """
    if os.environ.get("QRSOCKET_REDIS_URL"):
        settings = read_settings()
        finding = check_connection(settings)
        if finding.severity is Severity.FAULT:
            raise Failed(f"{finding.text} ({shown(settings.redis_url.get_secret_value())}): {finding.advice}")
        url = settings.redis_url.get_secret_value()
        yield Surroundings(environment(url), f"that of QRSOCKET_REDIS_URL, {shown(url)}", None)
        return
    with ExitStack() as stack:
        server = _start_server(stack)
        yield Surroundings(environment(server.url), f"embedded, {server.url}", server)


def environment(url: str) -> dict[str, str]:
    """Return our environment with the Redis at *url* in it, for Celery too where nothing else is said."""
    variables = {"QRSOCKET_TRAIL_SECONDS": TRAIL_SECONDS, **os.environ}
    variables |= {"QRSOCKET_REDIS_URL": url, "PYTHONUNBUFFERED": "1"}
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        if not variables.get(name):
            variables[name] = for_celery(url)
    return variables


def _start_server(stack: ExitStack) -> EmbeddedRedis:
    try:
        return stack.enter_context(embedded_redis())
    except (FileNotFoundError, RuntimeError) as error:
        raise Failed(str(error)) from None
