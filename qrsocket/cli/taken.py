"""
The messages that a worker of `dev` has taken from its broker, for the next one to give back what it left.

A Redis broker keeps what a dead worker had for it for an hour. What was done, or given back in time, is not there any
more, so that it is safe to give all of them back. RabbitMQ does so by itself.
"""

from pathlib import Path
from typing import Any


def note_taken(path: Path) -> None:
    """Note at *path* what this worker takes from now on."""
    from celery import signals

    # Line by line, since the worker may be killed.
    notes = path.open("a", buffering=1)
    signals.task_received.connect(lambda request, **_: notes.write(f"{request.message.delivery_tag}\n"), weak=False)


def give_back(app: Any, path: Path) -> None:
    """Give back to the broker of *app* what the worker before this one has taken, in the order in which it had come."""
    tags = path.read_text().split() if path.exists() else []
    if not tags:
        return
    with app.connection_for_write() as connection:
        restore = getattr(connection.default_channel.qos, "restore_by_tag", None)
        for tag in reversed(tags):
            if restore is not None:
                restore(tag, leftmost=True)
    path.unlink()
