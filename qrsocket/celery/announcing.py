"""What a worker says of itself as long as it lives: its tasks, for who queues them by name, its queues, what it is."""

import threading
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any

from pydantic_core import to_json

from qrsocket import clients
from qrsocket.celery.watched import options_of, settings_of
from qrsocket.celery.watcher import watcher_of
from qrsocket.jobs.census import Card, Scheduled
from qrsocket.jobs.table import Jobs
from qrsocket.keys import Keyspace
from qrsocket.process import this_process
from qrsocket.roundtrip import run

# What a worker says of itself is read for each look into the console.
MOST_SCHEDULES = 50

_ended = threading.Event()


def announce(worker: Any, *, is_consuming: bool = True) -> None:
    """
    Say it once of a `WorkController`. When Redis is away, jobs that are queued by name are told of all the same.

    Args:
        is_consuming: It has reached its broker. Before that it says nothing of its queues.
    """
    app = worker.app
    settings, queues = settings_of(app), _queues(app) if is_consuming else set[str]()
    card = _card_of(worker, queues)
    tasks = {name: _told_as(task) for name, task in tuple(app.tasks.items())}
    with watcher_of(settings).trouble.noted("announcing"):
        for keys in Keyspace.of(settings).shards:
            call = Jobs(keys, settings).announce(queues, tasks, worker.hostname, card)
            run(clients.blocking(settings), call, timeout=settings.redis_timeout)


def keep_announcing(worker: Any) -> None:
    """Say it, and again before it is forgotten, until `stop_announcing`."""
    _ended.clear()

    def repeat() -> None:
        while True:
            announce(worker)
            if _ended.wait(settings_of(worker.app).lease / 3):
                return

    threading.Thread(target=repeat, name="qrsocket worker", daemon=True).start()


def stop_announcing() -> None:
    _ended.set()


def _told_as(task: Any) -> bytes:
    options = options_of(task)
    if options is None:
        return b""
    told = {"title": options.title if isinstance(options.title, str) else None, "only": options.only}
    return to_json({name: value for name, value in told.items() if value is not None})


def _card_of(worker: Any, queues: Collection[str]) -> bytes:
    # Where its class is not made yet, what was asked for: "prefork", or a path to another class.
    pool = getattr(worker.pool_cls, "__module__", worker.pool_cls)
    name, size = str(pool).rpartition(".")[2], worker.concurrency or 0
    schedules = tuple(schedules_of(worker.app))[:MOST_SCHEDULES]
    return Card(
        **this_process(), pool=name, concurrency=size, queues=tuple(sorted(queues)), schedules=schedules
    ).to_json()


def schedules_of(app: Any) -> Iterator[Scheduled]:
    """Yield what the beat schedule of *app* has, without arguments. What is no entry is left out: beat says so."""
    for name, entry in dict(app.conf.beat_schedule or {}).items():
        task = entry.get("task") if isinstance(entry, Mapping) else getattr(entry, "task", None)
        when = entry.get("schedule") if isinstance(entry, Mapping) else getattr(entry, "schedule", None)
        if task and when is not None:
            yield Scheduled(str(name), str(task), _when(when))


def _when(schedule: Any) -> str:
    every = getattr(schedule, "run_every", schedule)  # Celery's own of a number or a timedelta
    seconds = every.total_seconds() if isinstance(every, timedelta) else every
    return f"every {seconds:g} s" if isinstance(seconds, (int, float)) else str(schedule)


def _queues(app: Any) -> set[str]:
    """Return the names of the queues that are consumed, and the keys that lead to them, patterns perhaps."""
    queues = tuple(app.amqp.queues.consume_from.values())
    return {word for queue in queues for word in (queue.name, queue.routing_key) if word}
