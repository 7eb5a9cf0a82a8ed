"""
One user's side of `qrsocket.v1`: what came, sorted, and where the client is in it.

Knows no socket: frames are given to it as they come, so that nobody waits here.
"""

import json
from collections import deque
from typing import Any

from pydantic_core import to_json

from qrsocket.position import Position
from qrsocket.testing.expectation import Received
from qrsocket.testing.jobs import Job, Jobs
from qrsocket.testing.transcript import Transcript

BARRIER = "qrsocket.testing barrier"


class Conversation:
    """
    Attributes:
        inbox: Messages and errors that the test has not received yet, oldest first. Errors are `{"error": "…"}`, as
            clients of the plain protocol get them.
        barriers: Marks that came back, of this client's own and of others of its user.
        position: Of the last message that came; None before there is a place.
        ready: What the last `ready` has said; None before the first one of a connection.
        gaps: How often it was told that something may be missing.
        retry_after: Seconds, once it was told that the node is about to stop.
    """

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.inbox: deque[Received] = deque()
        self.barriers: set[str] = set()
        self.jobs = Jobs()
        self.position: Position | None = None
        self.ready: dict[str, Any] | None = None
        self.gaps = 0
        self.retry_after: float | None = None

    def hello(self, auth: Any) -> str:
        """Return the first frame of a connection, which says where this client was."""
        fields = {} if self.position is None else self.position._asdict()
        if auth is not None:
            fields["auth"] = auth
        return f"!hello\n{to_json(fields).decode()}"

    def take(self, frame: str | bytes) -> None:
        """
        Sort in what has come.

        Raises:
            ValueError: It is no frame of `qrsocket.v1`.
        """
        self.transcript.received(frame)
        header, payload = _split(frame)
        if header.startswith("!"):
            name, _, offset = header[1:].partition(" ")
            self._advance(offset)
            self._take_control(name, json.loads(payload))
        else:
            self._advance(header)
            self._take_message(payload)

    def _advance(self, offset: str) -> None:
        if offset:
            if self.position is None:
                raise ValueError("a message that is counted, before the ready that says from where")
            self.position = self.position._replace(offset=int(offset))

    def _take_message(self, payload: str | bytes) -> None:
        received = Received.read(payload)
        if isinstance(received.value, dict) and BARRIER in received.value:
            self.barriers.add(received.value[BARRIER])
        else:
            self.inbox.append(received)

    def _take_control(self, name: str, fields: dict[str, Any]) -> None:
        match name:
            case "ready":
                self.ready = fields
                self.position = Position(fields["epoch"], fields["offset"])
                for job in reversed(fields.get("jobs", [])):
                    self.jobs.tell(Job.read(job))
            case "gap":
                self.gaps += 1
                self.position = Position(fields["epoch"], fields["offset"])
            case "error":
                self.inbox.append(Received.read(to_json({"error": fields["error"]}).decode()))
            case "job":
                self.jobs.tell(Job.read(fields["job"]))
            case "chunk":
                chunk = fields["chunk"]
                self.jobs.write(chunk["job"], chunk["n"], chunk["text"])
            case "draining":
                self.retry_after = fields["retry_after"]
            case _:  # from a newer server; it is in the transcript
                pass


def _split(frame: str | bytes) -> tuple[str, str | bytes]:
    if isinstance(frame, str):
        header, separator, text = frame.partition("\n")
        if separator:
            return header, text
    else:
        line, mark, payload = frame.partition(b"\n")
        if mark:
            return line.decode(), payload
    raise ValueError("a frame without a header")
