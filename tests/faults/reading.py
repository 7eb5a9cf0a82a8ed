"""What comes to a client of a fault run, frame by frame: written down, and where the client is in it."""

import json
from collections.abc import Callable
from typing import Any

from qrsocket.headers import read_header
from tests.faults.asking import Asking
from tests.faults.device import PLAIN, Device
from tests.faults.messages import LAST


def hello(device: Device) -> str:
    """Return the first frame of a connection, which says where *device* was."""
    fields: dict[str, Any] = {} if device.position is None else _place(device.position)
    places = {name: topic.position for name, topic in device.topics.items() if topic.is_joined}
    fields["topics"] = {name: _place(position) for name, position in places.items() if position is not None}
    fields["connection"] = device.former
    return f"!hello\n{json.dumps(fields)}"


def _place(position: tuple[str, int]) -> dict[str, Any]:
    return dict(zip(("epoch", "offset"), position, strict=True))


class Reading:
    """Reads one connection."""

    def __init__(
        self, device: Device, record: Callable[..., None], on_open: Callable[[], None], asking: Asking
    ) -> None:
        self._device, self._record, self._on_open, self._asking = device, record, on_open, asking
        self._controls: dict[str, Callable[[dict[str, Any]], None]] = {
            "ready": self._be_ready,
            "gap": self._tell_gap,
            "joined": lambda words: self._join(words["topic"], words),
            "left": lambda words: self._leave(words["topic"], words["why"]),
            "members": lambda words: self._change(words["topic"], words["joined"], words["left"]),
            "job": lambda words: self._learn(words["job"], listed=False),
            "jobs": lambda words: self._learn_all(words["jobs"]),
        }

    def take(self, frame: str | bytes) -> None:
        text = frame if isinstance(frame, str) else frame.decode()
        if self._device.habits.protocol == PLAIN:
            self._take_message(json.loads(text), None, "")
            return
        head, _, body = text.partition("\n")
        first, options = read_header(head)
        if first.startswith("!"):
            self._obey(first[1:], json.loads(body))
        elif "r" in options:
            self._asking.replied(options["r"], json.loads(body))
        else:
            offset = None if first == "-" else int(first)
            self._take_message(json.loads(body), offset, options.get("t", ""))

    def _take_message(self, message: dict[str, Any], offset: int | None, topic: str) -> None:
        if "id" in message:
            fields = {name: message[name] for name in ("id", "sender", "n", "to")}
            self._record("message", **fields, offset=offset, topic=topic)
            self._device.has_last = self._device.has_last or message["sender"] == LAST
        elif "answer" in message:  # to this device, or to another of the same user
            self._asking.answered(message["answer"])
        elif "error" in message:  # a plain client asks one thing at a time, so it is about that
            self._asking.answered(None)
        if offset is not None:
            self._move(topic, offset)

    def _obey(self, name: str, words: dict[str, Any]) -> None:
        request = words.get("request")
        if name == "error":
            if request is not None:
                self._asking.failed(request)
            return
        if name in self._controls:
            self._controls[name](words)
        if request is not None:
            self._asking.done(request)

    def _tell_gap(self, words: dict[str, Any]) -> None:
        topic = words.get("topic", "")
        self._record("gap", epoch=words["epoch"], offset=words["offset"], topic=topic)
        self._move(topic, words["offset"], words["epoch"])

    def _be_ready(self, words: dict[str, Any]) -> None:
        fields = {name: words[name] for name in ("epoch", "offset", "recovered", "user")}
        self._record("ready", **fields)
        device = self._device
        device.position, device.former = (words["epoch"], words["offset"]), words["connection"]
        for topic, place in words["topics"].items():
            if "error" in place:
                self._leave(topic, place["error"])
            else:
                self._join(topic, place)
        self._learn_all(words["jobs"])
        self._on_open()

    def _join(self, name: str, place: dict[str, Any]) -> None:
        topic, members = self._device.topic(name), place.get("members")
        fields = {key: place[key] for key in ("epoch", "offset", "recovered")}
        self._record("joined", topic=name, **fields, since=topic.position, members=members)
        topic.is_joined, topic.position = True, (place["epoch"], place["offset"])
        topic.members = None if members is None else set(members)

    def _leave(self, name: str, why: str) -> None:
        self._record("left", topic=name, why=why)
        self._device.topic(name).is_joined = False

    def _change(self, name: str, joined: list[str], left: list[str]) -> None:
        self._record("change", topic=name, joined=joined, left=left)
        topic = self._device.topic(name)
        topic.members = ((topic.members or set()) | set(joined)) - set(left)

    def _learn_all(self, jobs: list[dict[str, Any]]) -> None:
        for job in jobs:
            self._learn(job, listed=True)

    def _learn(self, job: dict[str, Any], *, listed: bool) -> None:
        id, seq, state = job["id"], job["seq"], job["state"]
        self._record("job", job=id, seq=seq, state=state, listed=listed)
        self._device.jobs[id] = max((seq, state), self._device.jobs.get(id, (0, "")))

    def _move(self, topic: str, offset: int, epoch: str | None = None) -> None:
        """Note that everything up to *offset* has been processed."""
        before = self._device.topic(topic).position if topic else self._device.position
        position = (epoch or (before or ("", 0))[0], offset)
        if topic:
            self._device.topic(topic).position = position
        else:
            self._device.position = position
