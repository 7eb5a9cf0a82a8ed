"""A node's answer to `qrsocket doctor`: it hears what Redis publishes, and its event loop runs."""

from redis.exceptions import RedisError

from qrsocket import clients
from qrsocket.errors import Unavailable
from qrsocket.fanout.publish import answer_probe
from qrsocket.keys import Keyspace
from qrsocket.logger import Logger
from qrsocket.roundtrip import arun
from qrsocket.settings import Settings

logger = Logger(__name__)


async def answer(settings: Settings, node: str, lost: str, probe_id: str) -> None:
    """
    Args:
        lost: What the node's server does not give it; empty if all is well.
    """
    call = answer_probe(Keyspace.of(settings).shards[0], lost, probe_id)
    try:
        await arun(clients.awaiting(settings), call, timeout=settings.redis_timeout)
    except (Unavailable, RedisError) as error:
        logger.warning("probe not answered: Redis unavailable", node=node, error=type(error).__name__)
