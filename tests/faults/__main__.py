"""`python -m tests.faults`: break everything on purpose for a minute, and judge what the clients saw."""

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from tests.faults.conditions import GRACE, HANDLER_TIMEOUT, HOOK_TIMEOUT, LEASE, TICK
from tests.faults.history import read_history
from tests.faults.judge import judge, summary
from tests.faults.mutations import MUTATIONS, SHOWN_BY
from tests.faults.plan import KINDS
from tests.faults.report import conclude, show
from tests.faults.run import Options, run
from tests.faults.story import Limits

HELP = f"""
Run four web nodes, a Celery worker, publishers and some 60 clients against one Redis; break them, one after the other
and at once; then judge the histories that all of them wrote: nothing lost without a word, nothing twice, nothing out of
order, hooks exact, presence true, nothing left over.

The same seed makes the same faults at the same times; what happens between them is never the same twice. To look into
a failure, run its seed again with `--keep DIR`, and narrow it down with `--faults`:

    python -m tests.faults --seed 7 --faults kill-node,restart-redis --keep /tmp/run7

Kinds of faults: {", ".join(KINDS)}.

The exit code is 0 if no invariant was violated. With `--mutation` it is 0 if one was: a judge that cannot fail proves
nothing. Mutations: {", ".join(MUTATIONS)}.
"""

LIMITS = Limits(lease=LEASE, tick=TICK, grace=GRACE, hook_timeout=HOOK_TIMEOUT, handler_timeout=HANDLER_TIMEOUT)


def main(
    seed: Annotated[str, typer.Option(help="Of the plan of faults, sizes, recipients and habits.")] = "1",
    seconds: Annotated[float, typer.Option(help="In which faults happen; the run takes some 25 s more.")] = 65,
    faults: Annotated[str, typer.Option(help="Only these kinds, with commas between them.")] = "",
    mutation: Annotated[str, typer.Option(help="Break the library in this way, on purpose.")] = "",
    keep: Annotated[Optional[Path], typer.Option(help="Folder for histories and logs, a new or empty one.")] = None,  # noqa: UP045 - typer
) -> None:
    kinds = tuple(faults.split(",")) if faults else SHOWN_BY.get(mutation, tuple(KINDS))
    if unknown := set(kinds) - set(KINDS):
        raise typer.BadParameter(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    if mutation and mutation not in MUTATIONS:
        raise typer.BadParameter(f"no such mutation: {mutation}; there are {', '.join(MUTATIONS)}")
    folder = keep or Path(tempfile.mkdtemp(prefix="qrsocket-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise typer.BadParameter(f"{folder} is not empty: histories of two runs cannot be told apart")
    console = Console(width=None if sys.stdout.isatty() else 120)
    began_at = time.monotonic()
    notes = _run(Options(seed, seconds, folder.absolute(), kinds, mutation), console)
    events = read_history(folder)
    violations = judge(events, LIMITS)
    show(console, summary(events, violations), violations, notes, time.monotonic() - began_at)
    code = conclude(console, violations, mutation=mutation, folder=folder)
    if keep is None and not violations:
        shutil.rmtree(folder)
    raise typer.Exit(code)


def _run(options: Options, console: Console) -> list[str]:
    async def until_stopped() -> list[str]:
        me = asyncio.current_task()
        assert me is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)  # as Ctrl-C does
        return await run(options, lambda text: console.print(text, style="dim"))

    try:
        return asyncio.run(until_stopped())
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("stopped")
        raise typer.Exit(130) from None


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command(help=HELP)(main)

if __name__ == "__main__":
    app(prog_name="python -m tests.faults")
