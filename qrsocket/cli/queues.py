"""The hop from a queue to a worker: which jobs wait where nobody takes them."""

from collections.abc import Collection, Iterator

import redis
from redis.exceptions import RedisError

from qrsocket.cli.findings import Finding, fault, fine
from qrsocket.errors import Unavailable
from qrsocket.failures import explain
from qrsocket.jobs.census import census
from qrsocket.jobs.queues import Queue, duration, queues_of
from qrsocket.jobs.table import Jobs
from qrsocket.keys import Keyspace
from qrsocket.patience import Patience
from qrsocket.roundtrip import run_all
from qrsocket.settings import Settings


def examine_queues(client: redis.Redis, settings: Settings) -> Iterator[Finding]:
    """Say which queues workers consume, and in which jobs wait that none consumes. Nothing where there are no jobs."""
    calls = [census(Jobs(keys, settings)) for keys in Keyspace.of(settings).shards]
    try:
        shards = run_all(client, calls, Patience(settings.redis_timeout))
    except (RedisError, Unavailable) as error:
        yield fault("queues", *explain(error))
        return
    consumed = {queue for shard in shards for queue in shard.consumed}
    if consumed:
        yield fine("queues", f"workers consume {', '.join(sorted(consumed))}")
    for queue in queues_of((line for shard in shards for line in shard.lines), consumed):
        if not queue.is_consumed:
            yield _nobody(queue, consumed)


def _nobody(queue: Queue, consumed: Collection[str]) -> Finding:
    jobs = "1 job waits" if queue.jobs == 1 else f"{queue.jobs} jobs wait"
    known = f"Workers consume {', '.join(sorted(consumed))}" if consumed else "No worker runs that uses qrsocket"
    return fault(
        f"queue {queue.name}",
        f"{jobs} in it, the first for {duration(queue.seconds)}, and no worker consumes it",
        f"start one with `celery -A MODULE worker -Q {queue.name}`, or mend the name where the task is queued. {known}",
    )
