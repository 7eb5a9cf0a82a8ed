"""A round trip of a node, for which a script that fails is a Redis that does not answer."""

from typing import TypeVar

from redis.exceptions import RedisError

from qrsocket import clients
from qrsocket.errors import Unavailable
from qrsocket.roundtrip import Call, arun
from qrsocket.settings import Settings

T = TypeVar("T")


async def call_redis(settings: Settings, call: Call[T]) -> T:
    """
    Raises:
        Unavailable: Redis did not answer, or refused. The node is not ready then, and tries again; to die would help
            nobody.
    """
    try:
        return await arun(clients.awaiting(settings), call, timeout=settings.redis_timeout)
    except RedisError as error:
        raise Unavailable(f"{type(error).__name__}: {error}"[:200], settings.redis_timeout) from error
