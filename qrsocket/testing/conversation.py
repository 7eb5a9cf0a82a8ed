"""
One user's side of `qrsocket.v1`: what came, sorted, and where the client is in it.

Knows no socket: frames are given to it as they come, so that nobody waits here.
"""

import json
from collections import deque
from itertools import count
from typing import Any

from pydantic_core import to_json

from qrsocket.headers import read_header, split_frame
from qrsocket.position import Position
from qrsocket.testing.expectation import Received
from qrsocket.testing.jobs import Job, Jobs
from qrsocket.testing.transcript import Transcript

BARRIER = "qrsocket.testing barrier"
EVERYONE = "*"


class Inbox:
    """
    What came of one stream, and has not been received by the test yet.

    Attributes:
        messages: Oldest first. Errors, among those of the user, are `{"error": "…"}`, as clients of the plain protocol
            get them.
        barriers: Marks that came back, of this client's own and of others.
        position: Of the last message that came; None before there is a place.
        recovered: Whether nothing is missing between what came before the last (re)connect and what comes after it.
        gaps: How often it was told that something may be missing.
    """

    def __init__(self) -> None:
        self.messages: deque[Received] = deque()
        self.barriers: set[str] = set()
        self.position: Position | None = None
        self.recovered = False
        self.gaps = 0

    def begin(self, fields: dict[str, Any]) -> None:
        self.position = Position(fields["epoch"], fields["offset"])
        self.recovered = fields["recovered"]

    def take(self, offset: str, received: Received) -> None:
        if offset != "-":
            if self.position is None:
                raise ValueError("a message that is counted, before it was said from where")
            self.position = self.position._replace(offset=int(offset))
        if isinstance(received.value, dict) and BARRIER in received.value:
            self.barriers.add(received.value[BARRIER])
        else:
            self.messages.append(received)


class TopicInbox(Inbox):
    """
    Attributes:
        members: Ids of the users that have joined, where that is told.
        left: Why it is not joined; None while it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.members: set[str] = set()
        self.left: str | None = "not joined"

    def begin(self, fields: dict[str, Any]) -> None:
        super().begin(fields)
        self.members, self.left = set(fields.get("members", [])), None


class Conversation:
    """
    Attributes:
        mine: What was sent to the user, or to this connection.
        topics: By their names.
        answers: By request: what came, or the text of the error.
        ready: What the last `ready` has said; None before the first one of a connection.
        retry_after: Seconds, once it was told that the node is about to stop.
        expiring: How often it was asked to renew who it is.
    """

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.mine, self.everyone = Inbox(), Inbox()
        self.topics: dict[str, TopicInbox] = {}
        self.answers: dict[str, Received | str] = {}
        self.jobs = Jobs()
        self.ready: dict[str, Any] | None = None
        self.retry_after: float | None = None
        self.expiring = 0
        self._connection = ""
        self._requests = count(1)

    def hello(self, auth: Any) -> str:
        """Return the first frame of a connection, which says where this client was."""
        fields: dict[str, Any] = {} if self.mine.position is None else dict(self.mine.position._asdict())
        places = {name: topic.position for name, topic in self.topics.items() if topic.left is None}
        places[EVERYONE] = self.everyone.position
        if topics := {name: place._asdict() for name, place in places.items() if place is not None}:
            fields["topics"] = topics
        if self._connection:
            fields["connection"] = self._connection
        if auth is not None:
            fields["auth"] = auth
        return f"!hello\n{to_json(fields).decode()}"

    def request(self) -> str:
        """Return an id for what is to be answered."""
        return str(next(self._requests))

    def take(self, frame: str | bytes) -> None:
        """
        Sort in what has come.

        Raises:
            ValueError: It is no frame of `qrsocket.v1`.
        """
        self.transcript.received(frame)
        header_and_payload = split_frame(frame)
        if header_and_payload is None or "\ufffd" in header_and_payload[0]:  # which the server would percent-encode
            raise ValueError("a frame without a header in UTF-8")
        header, payload = header_and_payload
        first, fields = read_header(header)
        if first.startswith("!"):
            self._take_control(first[1:], _object(payload))
        elif first == "-" or (first.isascii() and first.isdecimal()):
            received = Received.read(payload, is_text=fields.get("x") == "text")
            self._take_message(first, fields, received)
        else:
            raise ValueError(f"a frame that begins with {first!r}")

    def topic(self, name: str) -> TopicInbox:
        return self.topics.setdefault(name, TopicInbox())

    def _take_message(self, offset: str, fields: dict[str, str], received: Received) -> None:
        topic, request = fields.get("t"), fields.get("r")
        if request is not None:
            self.answers[request] = received
        elif topic == EVERYONE:
            if offset != "-" and self.everyone.position is not None:
                self.everyone.position = self.everyone.position._replace(offset=int(offset))
            self.mine.take("-", received)
        elif topic is not None:
            self.topic(topic).take(offset, received)
        else:
            self.mine.take(offset, received)

    def _take_control(self, name: str, fields: dict[str, Any]) -> None:
        match name:
            case "ready":
                self._be_ready(fields)
            case "gap":
                self._tell_gap(fields)
            case "error":
                self._fail(fields["error"], fields.get("request"))
            case "joined" | "left" | "members":
                self._change_topic(name, fields)
            case "jobs" | "job" | "chunk":
                self._tell_of_jobs(name, fields)
            case "draining":
                self.retry_after = fields["retry_after"]
            case "expiring":
                self.expiring += 1
            case "renewed":
                self.answers[fields["request"]] = Received.read(to_json(fields).decode())
            case _:  # from a newer server; it is in the transcript
                pass

    def _change_topic(self, name: str, fields: dict[str, Any]) -> None:
        topic = self.topic(fields["topic"])
        if name == "joined":
            topic.begin(fields)
        elif name == "left":
            topic.left = fields["why"]
        else:
            topic.members = (topic.members | set(fields.get("joined", ()))) - set(fields.get("left", ()))

    def _tell_of_jobs(self, name: str, fields: dict[str, Any]) -> None:
        if name == "jobs":
            self._tell_jobs(fields["jobs"])
        elif name == "job":
            self.jobs.tell(Job.read(fields["job"]))
        else:
            chunk = fields["chunk"]
            self.jobs.write(chunk["job"], chunk["n"], chunk["text"])

    def _be_ready(self, fields: dict[str, Any]) -> None:
        self.ready = fields
        self._connection = fields["connection"]
        self.mine.begin(fields)
        for name, place in fields.get("topics", {}).items():
            if name == EVERYONE:
                self.everyone.begin(place)
            elif "error" in place:
                self.topic(name).left = place["error"]
            else:
                self.topic(name).begin(place)
        self._tell_jobs(fields.get("jobs", []))

    def _tell_gap(self, fields: dict[str, Any]) -> None:
        name = fields.get("topic")
        inbox = self.mine if name is None else self.everyone if name == EVERYONE else self.topic(name)
        inbox.gaps += 1
        if "epoch" in fields:
            inbox.position = Position(fields["epoch"], fields["offset"])

    def _tell_jobs(self, jobs: list[dict[str, Any]]) -> None:
        for job in reversed(jobs):
            self.jobs.tell(Job.read(job))

    def _fail(self, text: str, request: str | None) -> None:
        if request is None:
            self.mine.messages.append(Received.read(to_json({"error": text}).decode()))
        else:
            self.answers[request] = text


def _object(payload: str | bytes) -> dict[str, Any]:
    fields = json.loads(payload)
    if not isinstance(fields, dict):
        raise ValueError("a control frame without an object")
    return fields
