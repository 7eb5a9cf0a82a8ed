"""What a worker says of itself as long as it lives: its tasks, for who queues them by name, and its queues."""

import threading
from typing import Any

from pydantic_core import to_json

from qrsocket import clients
from qrsocket.celery.watched import options_of, settings_of
from qrsocket.celery.watcher import watcher_of
from qrsocket.jobs.table import Jobs
from qrsocket.keys import Keyspace
from qrsocket.roundtrip import run

_ended = threading.Event()


def announce(app: Any, *, is_consuming: bool = True) -> None:
    """
    Say it once. When Redis is away, jobs that are queued by name are told of all the same.

    Args:
        is_consuming: It has reached its broker. Before that it says nothing of its queues.
    """
    settings = settings_of(app)
    tasks = {name: _told_as(task) for name, task in tuple(app.tasks.items())}
    with watcher_of(settings).trouble.noted("announcing"):
        for keys in Keyspace.of(settings).shards:
            call = Jobs(keys, settings).announce(_queues(app) if is_consuming else (), tasks)
            run(clients.blocking(settings), call, timeout=settings.redis_timeout)


def keep_announcing(app: Any) -> None:
    """Say it, and again before it is forgotten, until `stop_announcing`."""
    _ended.clear()

    def repeat() -> None:
        while True:
            announce(app)
            if _ended.wait(settings_of(app).lease / 3):
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


def _queues(app: Any) -> set[str]:
    """Return the names of the queues that are consumed, and the keys that lead to them, patterns perhaps."""
    queues = tuple(app.amqp.queues.consume_from.values())
    return {word for queue in queues for word in (queue.name, queue.routing_key) if word}
