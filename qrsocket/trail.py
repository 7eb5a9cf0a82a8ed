"""
What became of each message, for `qrsocket why`: notes of who sent it, which nodes got it, and to whom it was written.

Kept in Redis for `trail_seconds`, as JSON with ids only, no payload: a list for each message, and one for each stream,
which has what was sent to it and what became of its connections. The newest 1 000 notes of each are kept.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic_core import from_json

from qrsocket.context import current
from qrsocket.keys import Keys
from qrsocket.process import this_process
from qrsocket.roundtrip import Argument, Call, Script, script_call

MOST_NOTES = 1_000
MOST_IDS = 20


class Note(NamedTuple):
    """
    Attributes:
        name: Of the message, or the stream.
        text: What is noted, in JSON.
    """

    name: str
    text: str


def trail_of(message_id: str, seconds: float) -> str:
    """Return what the sender of a message has to say for its trail; empty if none is kept."""
    if not seconds:
        return ""
    context = current()
    by = {
        "task": context.task_run.task_id if context.task_run else None,
        "user": context.user,
        "connection": context.connection,
        "process": "{host}:{pid}".format_map(this_process()),
    }
    told = {name: value for name, value in by.items() if value is not None}
    return json.dumps({"ms": round(seconds * 1000), "id": message_id, "by": told})


def add(keys: Keys, notes: Sequence[Note], seconds: float) -> Call[None]:
    """Describe the addition of *notes* to trails of this shard."""
    words: list[Argument] = [round(seconds * 1000), MOST_NOTES]
    for note in notes:
        words += note
    return script_call(Script.load("trail", base=keys.base), [keys.base], words, lambda _reply: None)


def read(keys: Keys, name: str) -> Call[list[dict[str, Any]]]:
    """Describe the reading of the trail of a message or a stream, the oldest note first."""
    return Call(("LRANGE", keys.trail(name), 0, -1), lambda reply: [from_json(note) for note in reply])
