"""`qrsocket status`: the state of the whole application."""

import json
import sys
import time
from typing import Annotated

import typer
from pydantic_core import to_json
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from qrsocket import status as state_of_all
from qrsocket.cli.ask import asking
from qrsocket.cli.failed import failing_in_one_line
from qrsocket.jobs.census import WorkerSeen
from qrsocket.jobs.queues import Queue, duration
from qrsocket.presence.census import NodeSeen
from qrsocket.status import MOST_LAG, Status

# For files and pipes, whose lines have any length.
WIDE = 200


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    Show nodes, workers, users, queues and jobs, and what is wrong with them.

    Ends with exit code 1 if something is.

    [bold]Examples[/bold]

      qrsocket status
      qrsocket status --json | jq '.nodes[].figures.connections'
    """
    with failing_in_one_line():
        seen = read_status()
    if as_json:
        typer.echo(json.dumps(json.loads(to_json(seen)), indent=2))
    else:
        wide_console().print(shown(seen))
    if seen.troubles:
        raise typer.Exit(1)


def shown(seen: Status) -> RenderableType:
    """Return it as people read it: the troubles last, where the eye is when the command has ended."""
    parts: list[RenderableType] = [_summary(seen), ""]
    for table in (_nodes(seen.nodes), _workers(seen.workers), _queues(seen.queues)):
        if table.row_count:
            parts += [table, ""]
    parts.extend(Text(f"✗ {trouble}", "bold red") for trouble in seen.troubles)
    if not seen.troubles:
        parts.append(Text("✓ nothing is wrong", "green"))
    return Group(*parts)


def read_status() -> Status:
    with asking() as settings:
        return state_of_all.read(settings)


def wide_console() -> Console:
    """Return standard output; where it is no terminal, with lines that are long enough not to be broken."""
    console = Console(file=sys.stdout, highlight=False)
    return console if console.is_terminal else Console(file=sys.stdout, highlight=False, width=WIDE)


def _summary(seen: Status) -> Text:
    figures = [node.figures for node in seen.nodes if node.figures]
    jobs = [f"{count} {state}" for state, count in seen.jobs.items()]
    if seen.others:
        jobs.append(f"{seen.others} more not ended")
    return Text(
        f"{_counted(seen.users, 'user')} online, {sum(one.connections for one in figures)} connections, "
        f"{_counted(seen.topics, 'topic')}, {sum(one.messages_per_second for one in figures):g} messages/s\n"
        f"jobs: {', '.join(jobs) or 'none'}"
    )


def _counted(number: int | None, noun: str) -> str:
    return f"too many {noun}s to count" if number is None else f"{number} {noun}{'' if number == 1 else 's'}"


def _nodes(nodes: tuple[NodeSeen, ...]) -> Table:
    table = new_table("node", "lease", "version", "process", "up", "open", "sent/s", "waiting", "behind", "lag")
    for node in nodes:
        said = node.figures
        cells = [node.name, f"{node.lease_left:.0f} s"]
        if said is not None:
            up, lag = duration(time.time() - said.since), f"{said.lag * 1000:.0f} ms"
            cells += [said.version, f"{said.host}:{said.pid}", up, str(said.connections)]
            cells += [f"{said.messages_per_second:g}", in_bytes(said.waiting_bytes), str(said.behind), lag]
        table.add_row(
            *map(Text, cells), style="red" if said is None or node.lease_left <= 0 or said.lag > MOST_LAG else None
        )
    return table


def _workers(workers: tuple[WorkerSeen, ...]) -> Table:
    table = new_table("worker", "lease", "version", "process", "pool", "at once", "queues")
    for worker in workers:
        cells, card = [worker.name, f"{worker.lease_left:.0f} s"], worker.card
        if card is not None:
            cells += [card.version, f"{card.host}:{card.pid}", card.pool, str(card.concurrency), ", ".join(card.queues)]
        table.add_row(*map(Text, cells))
    return table


def _queues(queues: tuple[Queue, ...]) -> Table:
    table = new_table("queue", "jobs waiting", "the first for", "worker")
    for queue in queues:
        cells = [queue.name, str(queue.jobs), duration(queue.seconds), "yes" if queue.is_consumed else "none"]
        table.add_row(*map(Text, cells), style=None if queue.is_consumed else "red")
    return table


def new_table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def in_bytes(number: int) -> str:
    if number < 1024:
        return f"{number} B"
    return f"{number / 1024:.0f} KiB" if number < 1024**2 else f"{number / 1024**2:.1f} MiB"
