"""`qrsocket top`: the state of the whole application, live."""

import time
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from qrsocket.cli.failed import Failed, failing_in_one_line
from qrsocket.cli.jobs import find_jobs, rows_of
from qrsocket.cli.status import read_status, shown, wide_console
from qrsocket.jobs.table import State

INTERVAL = 1.0
MOST_JOBS = 10


def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once, for scripts.")] = False,
) -> None:
    """
    Show the same as `status`, and the newest jobs that run, live: every second, until Ctrl-C.

    [bold]Examples[/bold]

      qrsocket top
      qrsocket top --once
    """
    console = wide_console()
    if once:
        with failing_in_one_line():
            console.print(_all())
        return
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        try:
            while True:
                live.update(_frame(), refresh=True)
                time.sleep(INTERVAL)
        except KeyboardInterrupt:
            pass


def _frame() -> RenderableType:
    """Return what is shown now. While Redis does not answer, that: it goes on when it does."""
    now = Text(time.strftime("%H:%M:%S  Ctrl-C ends it"), "dim")
    try:
        return Group(now, _all())
    except Failed as error:
        return Group(now, Text(f"✗ {error}", "bold red"))


def _all() -> RenderableType:
    running = find_jobs("", State.STARTED, MOST_JOBS)
    state = shown(read_status())
    return Group(state, "", rows_of(running)) if running else state
