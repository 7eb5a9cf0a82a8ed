"""The hop from a queue to a worker: which jobs wait where nobody takes them."""

import re
from collections.abc import Collection, Iterator

import redis
from redis.exceptions import RedisError

from qrsocket.cli.findings import Finding, fault, fine
from qrsocket.errors import Unavailable
from qrsocket.failures import explain
from qrsocket.jobs.table import Jobs, Line
from qrsocket.keys import Keyspace
from qrsocket.roundtrip import run
from qrsocket.settings import Settings


def examine_queues(client: redis.Redis, settings: Settings) -> Iterator[Finding]:
    """Say which queues workers consume, and in which jobs wait that none consumes. Nothing where there are no jobs."""
    try:
        lines, consumed = _read(client, settings)
    except (RedisError, Unavailable) as error:
        yield fault("queues", *explain(error))
        return
    if consumed:
        yield fine("queues", f"workers consume {', '.join(sorted(consumed))}")
    for line in lines:
        if not _is_consumed(line.queue, consumed):
            yield _nobody(line, consumed)


def _read(client: redis.Redis, settings: Settings) -> tuple[list[Line], set[str]]:
    by_queue: dict[str, Line] = {}
    consumed: set[str] = set()
    for keys in Keyspace.of(settings).shards:
        lines, queues = run(client, Jobs(keys, settings).queues(), timeout=settings.redis_timeout)
        consumed |= queues
        for line in lines:
            known = by_queue.get(line.queue, Line(line.queue, 0, 0))
            by_queue[line.queue] = Line(line.queue, known.jobs + line.jobs, max(known.seconds, line.seconds))
    return [by_queue[queue] for queue in sorted(by_queue)], consumed


def _is_consumed(queue: str, consumed: Collection[str]) -> bool:
    """Return whether a name, or a pattern of a topic exchange, is that of *queue*."""
    return queue in consumed or any(re.fullmatch(_expression(pattern), queue) for pattern in consumed)


def _expression(pattern: str) -> str:
    words = {"#": r".*", "*": r"[^.]+"}
    return r"\.".join(words.get(word, re.escape(word)) for word in pattern.split("."))


def _nobody(line: Line, consumed: Collection[str]) -> Finding:
    jobs = "1 job waits" if line.jobs == 1 else f"{line.jobs} jobs wait"
    known = f"Workers consume {', '.join(sorted(consumed))}" if consumed else "No worker runs that uses qrsocket"
    return fault(
        f"queue {line.queue}",
        f"{jobs} in it, the first for {_duration(line.seconds)}, and no worker consumes it",
        f"start one with `celery -A MODULE worker -Q {line.queue}`, or mend the name where the task is queued. {known}",
    )


def _duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
