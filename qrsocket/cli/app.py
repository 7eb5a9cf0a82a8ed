"""The commands and their options: what people read with --help."""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from qrsocket.cli import ask, jobs
from qrsocket.cli.failed import failing_in_one_line
from qrsocket.cli.findings import Severity
from qrsocket.cli.serve import serve
from qrsocket.cli.status import status
from qrsocket.cli.target import check_target
from qrsocket.cli.top import top
from qrsocket.cli.why import why
from qrsocket.settings import misnamed

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    # Rich's tracebacks show the values of variables: messages and passwords.
    pretty_exceptions_enable=False,
    epilog="Begin with: qrsocket dev MODULE:APP --celery MODULE:APP. In production: qrsocket serve MODULE:APP",
)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"qrsocket {version('qrsocket')}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Push to your users from anywhere in a FastAPI and Celery application."""


STYLES = {Severity.FINE: "green", Severity.WARNING: "yellow", Severity.FAULT: "bold red"}


@app.command()
def dev(
    target: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The FastAPI application.")],
    celery: Annotated[str, typer.Option(metavar="MODULE:APP", help="The Celery application.")] = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the first web node; 0: a free one.")] = 8000,
    nodes: Annotated[int, typer.Option(min=1, max=32, help="Web nodes, on ports one after the other.")] = 1,
    reload: Annotated[bool, typer.Option(help="Run everything again when a Python file here changes.")] = True,
) -> None:
    """
    Run the whole application here: Redis, worker, beat and web, until Ctrl-C.

    An embedded Redis is started unless QRSOCKET_REDIS_URL names one.

    [bold]Examples[/bold]

      qrsocket dev api.main:app --celery worker.app:app
      qrsocket dev api.main:app --celery worker.app:app --nodes 2 --port 8080
      QRSOCKET_REDIS_URL=redis://localhost:6379/0 qrsocket dev api.main:app --no-reload
    """
    from qrsocket.cli.dev import Plan
    from qrsocket.cli.dev import dev as run

    with failing_in_one_line():
        check_target(target, "MODULE:APP", "uvicorn", "web")
        if celery:
            check_target(celery, "--celery", "celery", "celery")
        run(Plan(target, celery, host, port, nodes, reload, Path.cwd()), _console())


app.command()(serve)
app.command()(why)


@app.command()
def send(
    recipient: Annotated[str, typer.Argument(metavar="USER", help="Id of the user; with --topic the name of a topic.")],
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="JSON, or else text.")],
    topic: Annotated[bool, typer.Option("--topic", help="Send it to all who have joined a topic.")] = False,
    text: Annotated[bool, typer.Option("--text", help="Send it as text even if it is JSON.")] = False,
) -> None:
    """
    Send a message to a user, on all devices, or to a topic.

    [bold]Examples[/bold]

      qrsocket send alice '{"hello": "world"}'
      qrsocket send alice "see you at noon"
      qrsocket send --topic room:7 "closing in five minutes"
      qrsocket send 42 '[1, 2]' --text
    """
    with failing_in_one_line():
        delivery = ask.send(recipient, message, is_topic=topic, as_text=text)
    if delivery:
        connections = _count(delivery.connections, "connection")
        typer.echo(f"sent to {connections} on {_count(delivery.nodes, 'node')}")
    else:
        reason = f"nobody has joined {recipient}" if topic else f"{recipient} is offline"
        typer.echo(f"{reason}: sent to 0 connections")
    typer.echo(f"message {delivery.message_id}")


@app.command()
def online(
    users: Annotated[list[str] | None, typer.Argument(metavar="[USER]...", help="Ids; without any, everyone.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of the ids that are online.")] = False,
) -> None:
    """
    Say who has an open connection, anywhere.

    A table on a terminal; otherwise one id of those online a line.

    [bold]Examples[/bold]

      qrsocket online
      qrsocket online alice bob
      qrsocket online --json | jq length
    """
    with failing_in_one_line():
        found = ask.online(users or [])
    if as_json:
        typer.echo(json.dumps(found))
    else:
        ask.print_online(_console(), users or [], found)


@app.command()
def doctor() -> None:
    """
    Send a probe from here through Redis to every web node, and say which hop fails and what to do.

    Ends with exit code 1 if one does.

    [bold]Examples[/bold]

      qrsocket doctor
      QRSOCKET_REDIS_URL=redis://10.0.0.5:6379/0 qrsocket doctor
    """
    from qrsocket.cli.doctor import examine

    console = _console()
    is_healthy = True
    for finding in examine():
        mark = (f"{finding.severity.value} ", STYLES[finding.severity])
        console.print(Text.assemble(mark, finding.text), soft_wrap=True)
        if finding.advice:
            console.print(Text.assemble("  → ", finding.advice), soft_wrap=True)
        is_healthy = is_healthy and finding.severity is not Severity.FAULT
    if not is_healthy:
        raise typer.Exit(1)


app.command()(status)
app.command()(top)
app.add_typer(jobs.app, name="jobs")


@app.command()
def settings() -> None:
    """
    List every setting: its name in the environment, its default, its unit and its danger.

    A table on a terminal; otherwise the text of an .env file.

    [bold]Examples[/bold]

      qrsocket settings
      qrsocket settings > .env
    """
    from qrsocket.cli.options import print_settings

    print_settings(_console())
    for hint in misnamed(os.environ):
        Console(stderr=True).print(Text(f"qrsocket: {hint}", "yellow"), soft_wrap=True)


def _console() -> Console:
    return Console(file=sys.stdout, highlight=False)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
