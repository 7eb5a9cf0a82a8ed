"""
What `qrsocket dev` runs in each process: uvicorn, a Celery worker, a beat, or the reading of the map.

    python -m qrsocket.cli.child web|worker|beat|map ...

Standard output carries the log, and in it notes for `dev`: a line that begins with NOTE.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any

NOTE = "\x1eqrsocket "
READY = "ready"
MAP = "map "

# `dev` kills what has not ended after 1.3 s.
GRACEFUL_SHUTDOWN = 1


def main(role: str, *words: str) -> None:
    match role:
        case "web":
            run_web(*words)
        case "map":
            from qrsocket.cli.overview import read_map
            from qrsocket.server import console

            console.in_dev = True
            tell(MAP + read_map(*words))
        case "worker":
            run_worker(*words)
        case _:
            run_celery(role, *words)


def tell(text: str) -> None:
    """Write a note. Not through sys.stdout, which a worker redirects to its log."""
    os.write(1, f"{NOTE}{text}\n".encode())


def run_web(app: str, fd: str, colours: str) -> None:
    """Serve *app* on the listening socket *fd*, which outlives us: while we restart, clients wait in its queue."""
    import uvicorn

    from qrsocket.server import console
    from qrsocket.server.finding import options_for_uvicorn
    from qrsocket.settings import get_settings

    console.in_dev = True

    async def on_start() -> None:
        tell(READY)

    config = uvicorn.Config(
        app,
        **options_for_uvicorn(get_settings()),
        use_colors=colours == "colours",
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN,
        callback_notify=on_start,  # called when uvicorn has started, and then once a day
        timeout_notify=24 * 3600,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[socket.socket(fileno=int(fd))])


def run_worker(app: str, taken: str, *options: str) -> None:
    """Run a worker that first gives back what the one before it has left: its notes are in the file *taken*."""
    from celery import signals

    from qrsocket.cli.taken import give_back, note_taken

    def begin(instance: Any, **_: Any) -> None:
        give_back(instance.app, Path(taken))
        note_taken(Path(taken))

    signals.celeryd_after_setup.connect(begin, weak=False)
    run_celery("worker", app, *options)


def run_celery(role: str, app: str, *options: str) -> None:
    """Run `celery -A app worker` or `beat` as from the command line."""
    from celery import signals
    from celery.__main__ import main as celery

    ready = signals.worker_ready if role == "worker" else signals.beat_init
    ready.connect(lambda **_: tell(READY), weak=False)
    sys.argv = ["celery", "-q", "-A", app, role, "--loglevel", "INFO", *options]
    celery()


if __name__ == "__main__":
    main(*sys.argv[1:])
