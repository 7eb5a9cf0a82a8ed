"""`qrsocket why`: what became of a message, or of what was sent to a user, and of their connections."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from qrsocket.cli.ask import asking
from qrsocket.cli.failed import Failed, failing_in_one_line
from qrsocket.trail import of_message, of_user
from qrsocket.trail_text import line, verdict

MOST_LINES = 100


def why(
    message_id: Annotated[
        str, typer.Argument(metavar="[MESSAGE_ID]", help="Of the `Delivery` that `send` returns.")
    ] = "",
    user: Annotated[str, typer.Option(help="Say what was sent to a user, and what became of their connections.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the notes, as a JSON list.")] = False,
) -> None:
    """
    Say what became of a message: who sent it, which nodes got it, and to which connections it was written.

    Notes are kept where QRSOCKET_TRAIL_SECONDS is set, as `qrsocket dev` does: ids, never payloads.

    [bold]Examples[/bold]

      qrsocket why 0f3c5a:17
      qrsocket why --user alice
    """
    with failing_in_one_line():
        if bool(message_id) == bool(user):
            raise Failed("name a message, or a user with --user: qrsocket why --help shows how")
        with asking() as settings:
            notes = of_user(settings, user) if user else of_message(settings, message_id)
        if not notes:
            raise Failed(_nothing_known(f"the user {user}" if user else f"the message {message_id}"))
    if as_json:
        typer.echo(json.dumps(notes))
        return
    console = Console(highlight=False)
    for note in notes[-MOST_LINES:]:
        console.print(Text(line(note)), soft_wrap=True)
    if message_id:
        console.print(Text(f"→ {verdict(notes)}", "bold"), soft_wrap=True)


def _nothing_known(whom: str) -> str:
    return (
        f"nothing is known of {whom}: it was not sent, or longer ago than trails are kept, or none are. They are where "
        "QRSOCKET_TRAIL_SECONDS is set, for web nodes, workers and whatever else sends; `qrsocket dev` sets it"
    )
