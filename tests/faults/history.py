"""
What happened in a fault run: one JSON object a line, one file a process, one clock for all of them.

An event is named by its class in lower case. Sessions, messages and hooks are joined by their ids, later.
"""

import json
import os
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Send:
    """
    A publisher is about to send its *n*-th message.

    Attributes:
        to: Users, or one topic.
        kept: It also reaches those who are away, and come back.
        but: The session that is left out; empty for none.
    """

    at: float
    sender: str
    n: int
    id: str
    to: tuple[str, ...]
    kept: bool
    but: str


@dataclass(frozen=True, slots=True)
class Sent:
    """The message is acknowledged."""

    at: float
    id: str
    connections: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """The publisher was told `Unavailable`: the message may or may not be delivered, now or later."""

    at: float
    id: str
    cause: str


@dataclass(frozen=True, slots=True)
class Connecting:
    """
    A client is about to open a connection.

    Attributes:
        device: The sessions of a v1 device continue each other, by *position*.
        protocol: "v1" or "plain".
        node: Process name.
    """

    at: float
    session: str
    device: str
    user: str
    protocol: str
    node: str
    position: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class Open:
    """A plain client can be sent to."""

    at: float
    session: str


@dataclass(frozen=True, slots=True)
class Ready:
    at: float
    session: str
    epoch: str
    offset: int
    recovered: bool
    user: str


@dataclass(frozen=True, slots=True)
class Message:
    """
    A client received it.

    Attributes:
        to: From the payload, as are *id*, *sender* and *n*.
        offset: None for a plain client, and where it is not counted.
        topic: That it is of, as the frame says; empty for the user's own.
    """

    at: float
    session: str
    id: str
    sender: str
    n: int
    to: tuple[str, ...]
    offset: int | None
    topic: str


@dataclass(frozen=True, slots=True)
class Gap:
    at: float
    session: str
    epoch: str
    offset: int
    topic: str


@dataclass(frozen=True, slots=True)
class Joined:
    """
    A client was told that it has joined a topic, or still has.

    Attributes:
        since: Where it was, if it has said so.
        members: Users; None where that is not told.
    """

    at: float
    session: str
    topic: str
    epoch: str
    offset: int
    recovered: bool
    since: tuple[str, int] | None
    members: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Left:
    """A client was told that it gets no more of a topic."""

    at: float
    session: str
    topic: str
    why: str


@dataclass(frozen=True, slots=True)
class Change:
    """A client was told who has joined a topic, and who has left it."""

    at: float
    session: str
    topic: str
    joined: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    at: float
    session: str
    code: int


@dataclass(frozen=True, slots=True)
class Request:
    """A client is about to ask something."""

    at: float
    session: str
    request: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The client got what it asked for, or an error instead."""

    at: float
    session: str
    request: str


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A client is about to ask something that must be answered once.

    Attributes:
        fails: The application answers with an error.
    """

    at: float
    session: str
    request: str
    fails: bool


@dataclass(frozen=True, slots=True)
class Replied:
    """
    Attributes:
        outcome: "answer", "error", or "wrong" for the answer to another request.
    """

    at: float
    session: str
    request: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Job:
    """
    A client was told of a job.

    Attributes:
        listed: Among others, and not when it entered the state.
    """

    at: float
    session: str
    job: str
    seq: int
    state: str
    listed: bool


@dataclass(frozen=True, slots=True)
class Hook:
    """
    A node begins to run a hook.

    Attributes:
        event: `<user>:<number>`.
        kind: "online" or "offline".
    """

    at: float
    node: str
    user: str
    event: str
    kind: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Hooked:
    """The run is over; Redis does not know it yet."""

    at: float
    node: str
    user: str
    event: str
    kind: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Fault:
    """
    Attributes:
        target: Process name, "redis", or the device of a deaf client.
        phase: "begin", written before the fault is made, or "end", written when it is over.
    """

    at: float
    fault: str
    target: str
    phase: str


@dataclass(frozen=True, slots=True)
class Quiet:
    """All faults are over, nobody sends any more, and everything had time to settle."""

    at: float


@dataclass(frozen=True, slots=True)
class Presence:
    """
    Attributes:
        online: Users that Redis says are online.
        truth: Users that have an open connection.
    """

    at: float
    online: tuple[str, ...]
    truth: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Members:
    """
    Who has joined a topic, as Redis says.

    Attributes:
        count: Of connections.
    """

    at: float
    topic: str
    members: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Watched:
    """The state of a job, as Redis says."""

    at: float
    user: str
    job: str
    seq: int
    state: str


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Keys that nobody owns any more, each with why."""

    at: float
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leak:
    """Something grew over its limit, or a canary was found in a log."""

    at: float
    what: str


Event: TypeAlias = (
    Send
    | Sent
    | Unknown
    | Connecting
    | Open
    | Ready
    | Message
    | Gap
    | Joined
    | Left
    | Change
    | Closed
    | Request
    | Answer
    | Asked
    | Replied
    | Job
    | Hook
    | Hooked
    | Fault
    | Quiet
    | Presence
    | Members
    | Watched
    | Leftovers
    | Leak
)

_KINDS: dict[str, type[Event]] = {kind.__name__.lower(): kind for kind in Event.__args__}
_FIELDS = {e: tuple(field.name for field in fields(kind)) for e, kind in _KINDS.items()}


class Recorder:
    """Writes the history of one process. A process that comes back under the same *name* continues the file."""

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / f"{name}.jsonl"
        _cut_torn_line(path)
        # Unbuffered, one write a line: what is recorded survives SIGKILL, and threads do not mix their lines.
        self._file = path.open("ab", buffering=0)

    def record(self, e: str, /, **fields: object) -> None:
        """
        Write that *e* happens now.

        Raises:
            TypeError: A field of *e* is missing. More fields than it has are fine.
        """
        line = {"at": time.monotonic(), "e": e, **fields}
        if missing := [name for name in _FIELDS[e] if name not in line]:
            raise TypeError(f"{e} needs {', '.join(missing)}")
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        self._file.close()


def read_history(folder: Path) -> list[Event]:
    """
    Read what all processes recorded in *folder*, in the order of the clock.

    Raises:
        ValueError: A line is not an event. Only the last of a file may be torn, by a SIGKILL; it is left out.
    """
    events = [event for path in sorted(folder.glob("*.jsonl")) for event in _read_file(path)]
    return sorted(events, key=lambda event: event.at)


def _read_file(path: Path) -> list[Event]:
    lines = path.read_bytes().split(b"\n")[:-1]
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(parse(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path.name}, line {number}: {error!r} in {line!r}") from error
    return events


def parse(line: dict[str, object]) -> Event:
    """Turn the object of one line into its event. Fields that the event does not have are ignored."""
    e = str(line["e"])
    values = [line[name] for name in _FIELDS[e]]
    return _KINDS[e](*[tuple(value) if isinstance(value, list) else value for value in values])


def _cut_torn_line(path: Path) -> None:
    if path.exists():
        whole = path.read_bytes().rfind(b"\n") + 1
        os.truncate(path, whole)
