"""What was measured, as tables, and as a file for later comparisons."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from rich import box
from rich.table import Table

from bench.scenarios import Figures

# Of each contender, its rounds.
Rounds = Mapping[str, Sequence[Figures]]
VERSIONS = ("uvicorn", "uvloop", "websockets", "redis", "hiredis", "fastapi", "starlette")


@dataclass(frozen=True, slots=True)
class Column:
    """
    Attributes:
        compared: Beside each figure stands how many times the limit's it is.
    """

    key: str
    heading: str
    compared: bool = False
    unit: str = "µs"


NODE = (
    Column("broadcast", "broadcast, a delivery", True),
    Column("broadcast_waiting", "20 broadcasts waiting", True),
    Column("unicast", "unicast, a message", True),
    Column("unicast_waiting", "100 unicasts waiting", True),
    Column("some", "100 of 2 000, a delivery", True),
    Column("handshake", "handshake"),
    Column("idle_kib", "idle connection", unit="KiB"),
)
AROUND = (
    Column("send_wall", "a send"),
    Column("send_cpu", "its CPU"),
    Column("redis_user", "Redis: 1 user"),
    Column("redis_two_nodes", "1 user on 2 nodes"),
    Column("redis_topic", "a topic"),
    Column("p50_ms", "p50", unit="ms"),
    Column("p99_ms", "p99", unit="ms"),
)


def medians(rounds: Rounds) -> dict[str, Figures]:
    return {name: {key: median(one[key] for one in of) for key in of[0]} for name, of in rounds.items()}


def ratios(rounds: Rounds, base: str) -> dict[str, Figures]:
    """Return how many times the figures of *base* they are: the median of what it was in each round."""
    against = {
        name: [
            {key: value / there[key] for key, value in here.items()}
            for here, there in zip(of, rounds[base], strict=True)
        ]
        for name, of in rounds.items()
        if base in rounds
    }
    return medians(against)


def noise(rounds: Rounds) -> float:
    """Return by what share the rounds of one contender differ: the median over all figures of largest - smallest."""
    values = [[one[key] for one in of] for of in rounds.values() for key in of[0]]
    return median((max(of) - min(of)) / abs(median(of) or 1) for of in values)


def table(title: str, columns: Sequence[Column], rounds: Rounds, base: str = "limit") -> Table:
    """Return a table in Markdown, with a line for each contender."""
    made = Table(title=title, box=box.MARKDOWN, title_justify="left")
    made.add_column("")
    for column in columns:
        made.add_column(f"{column.heading}, {column.unit}", justify="right")
    figures, times = medians(rounds), ratios(rounds, base)
    for name in rounds:
        cells = [rounded(figures[name][column.key]) for column in columns]
        for number, column in enumerate(columns):
            if column.compared and times and name != base:
                cells[number] += f" ({rounded(times[name][column.key])}×)"
        made.add_row(name, *cells)
    return made


def rounded(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def write(folder: Path, rounds: Rounds, now: datetime) -> Path:
    """Write everything to a new file in *folder*, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y-%m-%dT%H-%M-%S}.json"
    machine = {
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in VERSIONS},
    }
    found = {"at": now.isoformat(), "machine": machine, "medians": medians(rounds), "rounds": rounds}
    path.write_text(json.dumps(found, indent=1, default=dict))
    return path
