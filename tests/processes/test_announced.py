"""What a worker says of itself, in each pool."""

from importlib.metadata import version

from qrsocket import status
from qrsocket.settings import get_settings
from tests.conftest import until
from tests.running import Running


async def test_a_worker_says_what_it_is(pool: Running) -> None:
    """
    Its version, its process, its pool, how many jobs it runs at one time, and its queues.
    """
    [worker] = await until(lambda: status.read(get_settings()).workers)
    card = worker.card

    assert card is not None
    assert (version("qrsocket"), pool.process.pid) == (card.version, card.pid)
    assert ({"prefork": 2}.get(card.pool, 8), True) == (card.concurrency, "shapes" in card.queues)
    assert card.pool in {"prefork", "thread", "solo", "gevent"}
    assert any(f"{worker.name} ready" in line for line in pool.log)
