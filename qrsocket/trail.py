"""
What became of each message, for `qrsocket why`: notes of who sent it, which nodes got it, and to whom it was written.

Kept in Redis for `trail_seconds`, as JSON with ids only, no payload: a list for each message, and one for each stream,
which has what was sent to it and what became of its connections. The newest 1 000 notes of each are kept.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from pydantic_core import from_json

from qrsocket import clients
from qrsocket.context import current
from qrsocket.keys import Keys, Keyspace
from qrsocket.process import this_process
from qrsocket.roundtrip import Argument, Call, Script, run, script_call
from qrsocket.settings import Settings
from qrsocket.streams import of_user as stream_of_user
from qrsocket.users import user_id

Notes: TypeAlias = list[dict[str, Any]]

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


def read(keys: Keys, name: str) -> Call[Notes]:
    """Describe the reading of the trail of a message or a stream, the oldest note first."""
    return Call(("LRANGE", keys.trail(name), 0, -1), lambda reply: [from_json(note) for note in reply])


def of_message(settings: Settings, id: str) -> Notes:
    """Return what is noted of a message, and of its recipients where that concerns it, in the order of time.

    Raises:
        Unavailable: Redis did not answer.
    """
    shards = Keyspace.of(settings).shards
    notes = [note for keys in shards for note in _read(settings, keys, id)]
    sent = [note for note in notes if note["what"] == "sent"]
    for wire_id in dict.fromkeys(note["wire_id"] for note in sent if note["wire_id"] != id):
        notes += [note for keys in shards for note in _read(settings, keys, wire_id)]
    for stream, offset, at in {(one["stream"], one["offset"], note["at"]) for note in sent for one in note["streams"]}:
        trail = _read(settings, Keyspace.of(settings).of_stream(stream), stream)
        notes += [{**note, "stream": stream} for note in _concerning(trail, offset, at)]
    return sorted(notes, key=lambda note: note["at"])


def of_user(settings: Settings, user: str) -> Notes:
    """Return what is noted of a user's stream and connections, in the order of time; otherwise as `of_message`."""
    stream = stream_of_user(user_id(user))
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
