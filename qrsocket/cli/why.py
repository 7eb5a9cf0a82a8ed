"""`qrsocket why`: what became of a message, or of what was sent to a user, and of their connections."""

import json
import time
from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.text import Text

from qrsocket import clients
from qrsocket.cli.ask import asking
from qrsocket.cli.failed import Failed, failing_in_one_line
from qrsocket.cli.verdict import PLACES, verdict
from qrsocket.keys import Keys, Keyspace
from qrsocket.roundtrip import run
from qrsocket.settings import Settings
from qrsocket.streams import of_user
from qrsocket.trail import read
from qrsocket.users import user_id

Notes: TypeAlias = list[dict[str, Any]]

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
            notes = _of_user(settings, user) if user else of_message(settings, message_id)
        if not notes:
            raise Failed(_nothing_known(f"the user {user}" if user else f"the message {message_id}"))
    if as_json:
        typer.echo(json.dumps(notes))
        return
    console = Console(highlight=False)
    for note in notes[-MOST_LINES:]:
        console.print(Text(_line(note)), soft_wrap=True)
    if message_id:
        console.print(Text(f"→ {verdict(notes)}", "bold"), soft_wrap=True)


def of_message(settings: Settings, id: str) -> Notes:
    """Return what is noted of a message, and of its recipients where that concerns it, in the order of time."""
    shards = Keyspace.of(settings).shards
    notes = [note for keys in shards for note in _read(settings, keys, id)]
    sent = [note for note in notes if note["what"] == "sent"]
    for wire_id in dict.fromkeys(note["wire_id"] for note in sent if note["wire_id"] != id):
        notes += [note for keys in shards for note in _read(settings, keys, wire_id)]
    for stream, offset, at in {(one["stream"], one["offset"], note["at"]) for note in sent for one in note["streams"]}:
        trail = _read(settings, Keyspace.of(settings).of_stream(stream), stream)
        notes += [{**note, "stream": stream} for note in _concerning(trail, offset, at)]
    return sorted(notes, key=lambda note: note["at"])


def _of_user(settings: Settings, user: str) -> Notes:
    stream = of_user(user_id(user))
    notes = _read(settings, Keyspace.of(settings).of_stream(stream), stream)
    return sorted(notes, key=lambda note: note["at"])


def _concerning(trail: Iterable[dict[str, Any]], offset: str, at: int) -> Notes:
    """Return those notes of a stream that say what became of a message, *at* being when it was sent (Unix ms)."""
    if not offset:
        return []
    return [
        note
        for note in trail
        # By the offset, whatever the clocks of nodes and Redis say.
        if (note["what"] == "recovered" and int(note["first"]) <= int(offset) <= int(note["last"]))
        or (note["what"] in ("closed", "gap") and note["at"] >= at)
    ]


def _read(settings: Settings, keys: Keys, name: str) -> Notes:
    return run(clients.blocking(settings), read(keys, name), timeout=settings.redis_timeout)


def _nothing_known(whom: str) -> str:
    return (
        f"nothing is known of {whom}: it was not sent, or longer ago than trails are kept, or none are. They are where "
        "QRSOCKET_TRAIL_SECONDS is set, for web nodes, workers and whatever else sends; `qrsocket dev` sets it"
    )


def _line(note: dict[str, Any]) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(note["at"] / 1000)) + f".{note['at'] % 1000:03}"
    return f"{at}  {note.get('node', 'Redis'):<20}  {_words(note)}"


def _words(note: dict[str, Any]) -> str:
    match note["what"]:
        case "sent" if "streams" in note:
            nodes = note["nodes"].replace("\t", " ").strip() or "no node"
            return f"{_sender(note)} sent it to {_recipients(note)}: {_count(note['connections'])} on {nodes}"
        case "sent":
            return f"message {note['id']}" + (
                f" at offset {note['offset']}" if note["offset"] else ", which is not kept"
            )
        case "repeated":
            return f"{_sender(note)} sent it again under the same id: nobody gets it twice"
        case "offered":
            return ", ".join(_place(note, place) for place in PLACES if place in note) or "nobody here is subscribed"
        case "recovered":
            return f"{note['connection']} was given the messages {note['first']} to {note['last']} that it had missed"
        case "behind":
            return f"fell behind, and read what they missed: {' '.join(note['connections'])}"
        case "gap":
            return f"{note['connection']} was told that messages are gone"
        case "closed":
            return f"{note['connection']} closed: {note['code']} {note['reason']}".rstrip()
        case what:
            return f"{note['connection']} {what}"


def _sender(note: dict[str, Any]) -> str:
    by = note["by"]
    if "task" in by:
        return f"job {by['task']} in {by['process']}"
    for_whom = f" for {by['user']}" if "user" in by else ""
    return f"{by['process']}{for_whom}"


def _recipients(note: dict[str, Any]) -> str:
    first = [f"{one['stream']}" + (f" at {one['offset']}" if one["offset"] else "") for one in note["streams"][:5]]
    more = note["recipients"] - len(first)
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def _place(note: dict[str, Any], place: str) -> str:
    there = note[place]
    more = "" if there["count"] == len(there["first"]) else f" and {there['count'] - len(there['first'])} more"
    return f"{PLACES[place]} {' '.join(there['first'])}{more}"


def _count(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"
