"""The table of a fault run: what was done, what came of it, and what should not have."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.judge import Summary
from tests.faults.story import Violation

MOST_SHOWN = 20


def show(
    console: Console, summary: Summary, violations: Sequence[Violation], notes: Sequence[str], seconds: float
) -> None:
    figures = asdict(summary)
    faults = figures.pop("faults")
    grid = Table.grid(padding=(0, 4))
    grid.add_row(_table("Fault", faults, total=True), _table("Figure", {**figures, "wall time, s": f"{seconds:.0f}"}))
    console.print(grid)
    for note in notes:
        console.print(f"note: {note}", markup=False, style="dim")
    for violation in violations[:MOST_SHOWN]:
        console.print(f"{violation.invariant}: {violation.text}", markup=False, style="red", soft_wrap=True)
    if len(violations) > MOST_SHOWN:
        console.print(f"… and {len(violations) - MOST_SHOWN} more", style="red")


def conclude(console: Console, violations: Sequence[Violation], *, mutation: str, folder: Path) -> int:
    """Say what the run proves, and return the exit code: 0 if it is what was expected."""
    if violations:
        console.print(f"The histories are in {folder}", soft_wrap=True)
    if mutation:
        console.print(f"{mutation} was {'noticed' if violations else 'NOT noticed: the judge is blind to it'}")
        return 0 if violations else 1
    console.print(f"{len(violations)} violations" if violations else "No invariant was violated.")
    return 1 if violations else 0


def _table(name: str, rows: dict[str, object], *, total: bool = False) -> Table:
    table = Table(name, "", box=None, header_style="bold", pad_edge=False)
    for key, value in rows.items():
        table.add_row(key, str(value))
    if total:
        table.add_row("all", str(sum(int(str(value)) for value in rows.values())), style="bold")
    return table
