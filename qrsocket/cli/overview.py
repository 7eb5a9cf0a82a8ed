"""The map of an application: routes, WebSocket routes, Celery tasks and schedules. Read in a process of its own."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qrsocket.cli.failed import Failed
from qrsocket.cli.loading import load

# Title of a section -> its rows, each of words.
Map: TypeAlias = dict[str, list[list[str]]]

SCHEDULES, CONSOLE = "Schedules", "Console"


def read_map(app: str, celery: str = "") -> str:
    """Return the map as JSON; if the application cannot be imported, `{"error": why}`, with the traceback printed."""
    try:
        return json.dumps(_map(app, celery))
    except Failed as error:
        return json.dumps({"error": str(error)})


def parse_map(text: str) -> Map:
    """
    Read what `read_map` has written.

    Raises:
        Failed: The application could not be imported.
    """
    answer = json.loads(text)
    if "error" in answer:
        raise Failed(answer["error"])
    return Map(answer)


def print_map(console: Console, map: Map) -> None:
    for title, rows in map.items():
        if not rows:
            continue
        table = Table.grid(padding=(0, 2))
        for number, row in enumerate(rows):
            table.add_row(Text(title if number == 0 else "", style="bold"), *(Text(word) for word in row))
        console.print(table, soft_wrap=True)
        console.print()


def _map(app: str, celery: str) -> Map:
    # Each once: some, as our `/ready`, are there a second time, for OpenAPI.
    web = list(dict.fromkeys(_routes(getattr(load(app), "routes", ()))))
    map = {
        "Routes": [row for kind, *row in web if kind == "http"],
        CONSOLE: [row for kind, *row in web if kind == "console"],
        "WebSockets": [row for kind, *row in web if kind == "websocket"],
    }
    if celery:
        from celery import Celery

        worker = load(celery)
        if not isinstance(worker, Celery):
            raise Failed(f"--celery {celery} is a {type(worker).__name__}: it takes a Celery application")
        worker.loader.import_default_modules()  # as a worker does: `include`, autodiscovered tasks
        worker.finalize()
        map["Tasks"] = [[name] for name in sorted(worker.tasks) if not name.startswith("celery.")]
        map[SCHEDULES] = [
            [str(name), _when(entry["schedule"]), str(entry["task"])]
            for name, entry in sorted(worker.conf.beat_schedule.items())
        ]
    return map


def _routes(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, ...]]:
    """Yield ("http", methods, path, name), ("websocket", path, name) and ("console", path)."""
    from starlette.routing import Mount, WebSocketRoute

    from qrsocket.internals.fastapi import routes_of
    from qrsocket.server import console

    for route in routes_of(routes):
        original = getattr(route, "original_route", route)
        path, name = f"{prefix}{route.path or ''}", route.name or ""
        if (
            getattr(getattr(route, "endpoint", None), "__module__", "") == "fastapi.applications"
            and name != "swagger_ui_html"
        ):
            continue  # FastAPI's own; /docs stands for them
        if isinstance(original, Mount):
            inner = list(_routes(original.routes or (), path))
            yield from inner or [("http", "MOUNT", path, name)]
        elif name.startswith(console.NAME):
            if name == console.NAME:  # the others are what the page loads
                yield "console", path
        elif isinstance(original, WebSocketRoute):
            yield "websocket", path, name
        else:
            yield "http", " ".join(sorted((route.methods or {"*"}) - {"HEAD"})) or "HEAD", path, name


def _when(schedule: Any) -> str:
    """Say in words when a schedule is due: Celery takes a number of seconds, a timedelta or a schedule."""
    from celery.schedules import maybe_schedule

    return str(maybe_schedule(schedule)).strip("<>")
