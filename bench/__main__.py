"""The suite's command: `python -m bench`."""

import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from bench import picture, report
from bench.contenders import CONTENDERS, PEERS, Contender
from bench.node import OTHERS_CORE, VAR, pin
from bench.scenarios import Figures, Sizes, measure

NAMES = ", ".join(contender.name for contender in (*CONTENDERS, *PEERS))
DRAWN = ("broadcast", "broadcast_waiting", "unicast", "some", "handshake", "idle_kib")
MINE = ("ours", "ours-v1")


app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command()
def main(
    contenders: Annotated[list[str] | None, typer.Argument(help=f"Those to measure, of: {NAMES}.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Each contender so often, in turn; medians are shown.")] = 3,
    connections: Annotated[int, typer.Option(min=10, help="Idle connections whose memory is measured.")] = 1_000,
    peers: Annotated[bool, typer.Option("--peers", help="Other libraries too, installed below var/bench.")] = False,
    picture_path: Annotated[Path | None, typer.Option("--picture", help="Draw the figures, as SVG.")] = None,
) -> None:
    """
    Measure what our web node costs, beside the least that Python can do and beside what one writes by hand.

    The figures are CPU µs of the web node's process for each delivery: a shared machine distorts them the least. The
    node has one core, everything else another. Read the ratios: the absolute figures are this machine's.

    [bold]Examples[/bold]

      python -m bench
      python -m bench limit ours hand --rounds 5
      python -m bench limit ours --connections 10000
      python -m bench --peers --picture docs/img/performance.svg
    """
    chosen = _choose(contenders or [], peers=peers)
    if any(contender in PEERS for contender in chosen):
        from bench.peers.installed import install

        install()
    pin(OTHERS_CORE)
    sizes = replace(Sizes(), idle=connections)
    found: dict[str, list[Figures]] = {contender.name: [] for contender in chosen}
    console = Console(stderr=True)
    for number in range(1, rounds + 1):
        for contender in chosen:
            console.print(f"round {number} of {rounds}: {contender.name}")
            found[contender.name].append(uvloop.run(measure(contender, sizes)))
    _show(found, picture_path)


def _choose(names: list[str], *, peers: bool) -> list[Contender]:
    known = {contender.name: contender for contender in (*CONTENDERS, *PEERS)}
    if unknown := set(names) - known.keys():
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: none of {NAMES}")
    return [known[name] for name in names] if names else [*CONTENDERS, *(PEERS if peers else ())]


def _show(found: dict[str, list[Figures]], picture_path: Path | None) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(report.table("The web node: its CPU (times the limit's) and its memory", report.NODE, found))
    console.print(report.table("Around it: a blocking send, Redis' CPU, 1 000 sends a second", report.AROUND, found))
    if len(next(iter(found.values()))) > 1:
        console.print(f"Rounds of one contender differ by {report.noise(found):.0%}, the median over all figures.")
    console.print(f"All rounds: {report.write(VAR, found, datetime.now().astimezone())}")
    if picture_path is not None:
        columns = [column for column in report.NODE if column.key in DRAWN]
        picture_path.write_text(picture.picture(report.medians(found), columns, MINE))


if __name__ == "__main__":
    app()
