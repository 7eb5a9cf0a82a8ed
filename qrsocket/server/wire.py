"""
What is on the wire, in each of the two protocols.

Plain: exactly what the application sends; any WebSocket client will do. `qrsocket.v1`: every frame is a header line
(see headers.py) and a body, so that a client knows where it is and what it may have missed:

    17\\n<payload>              a message, with its offset; text is JSON, binary is as it is
    - t=room:7\\n<payload>      one that is not counted, of a topic
    - r=12\\n<payload>          the answer to the client's request 12
    !<name>\\n<json>           control: see docs/protocol.md for the names
    12 want=reply\\n<payload>   from the client: a message, with its id; without one `-`
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic_core import to_json

from qrsocket.errors import InvalidJson, SocketError
from qrsocket.headers import read_header, split_frame, write_header
from qrsocket.message import BINARY, JSON, MAX_JSON_DEPTH, Kind, Message, decode_json
from qrsocket.server.framing import BINARY as OPCODE_BINARY
from qrsocket.server.framing import TEXT as OPCODE_TEXT
from qrsocket.server.framing import framed

VERSION_1 = "qrsocket.v1"
MAX_REQUEST_ID = 64
NO_HEADER = f"A frame of {VERSION_1} begins with a line: a request id or -, and options, with single spaces between"
MAX_HEADER = 512
MAX_CONTROL = 4096
MAX_AUTH = 20 * 1024  # the longest token that jwt.py takes, and what is around it

NAMES = {Kind.JOB: b"!job\n", Kind.PROGRESS: b"!job\n", Kind.CHUNK: b"!chunk\n"}


@dataclass(frozen=True, slots=True)
class Json:
    """A value of a control frame that is written as JSON already, since many are told the same."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Inbound:
    """
    A message from a client.

    Attributes:
        request: The client's own id of it, if it gave one.
        wants_reply: It is to be answered, whatever becomes of it.
        control: What it asks of us, and not of the application, with these fields.
    """

    payload: str | bytes
    request: str | None = None
    wants_reply: bool = False
    control: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class Wire(Protocol):
    """How messages and errors are written for a client, as frames that many may share, and its own are read."""

    subprotocol: str | None

    def message(self, message: Message, offset: int | None, topic: str | None) -> bytes: ...

    def reply(self, message: Message, request: str | None) -> bytes:
        """Return what answers a request, or for None tells this client alone something."""
        ...

    def control(self, name: str, fields: Mapping[str, Any]) -> bytes | None:
        """Return what tells a client about its connection; None if it cannot be told."""
        ...

    def error(self, text: str, request: str | None, *, is_temporary: bool) -> bytes: ...

    def read(self, frame: str | bytes) -> Inbound:
        """
        Read a message of a client.

        Raises:
            SocketError: It is not one.
        """
        ...


class Plain:
    subprotocol: str | None = None

    def message(self, message: Message, offset: int | None, topic: str | None) -> bytes:
        return _frame(message.kind, message.payload)

    def reply(self, message: Message, request: str | None) -> bytes:
        return _frame(message.kind, message.payload)

    def control(self, name: str, fields: Mapping[str, Any]) -> bytes | None:
        return None

    def error(self, text: str, request: str | None, *, is_temporary: bool) -> bytes:
        return _frame(Kind.TEXT, to_json({"error": text}))

    def read(self, frame: str | bytes) -> Inbound:
        return Inbound(frame)


class Version1:
    subprotocol: str | None = VERSION_1

    def message(self, message: Message, offset: int | None, topic: str | None) -> bytes:
        kind = message.kind
        if kind is JSON and topic is None and offset is not None:  # most are so
            return framed(OPCODE_TEXT, b"%d\n%b" % (offset, message.payload))
        name = NAMES.get(kind)
        if name is not None:
            return _frame(kind, name + message.payload)
        first = "-" if offset is None else str(offset)
        return self._framed(first, {"t": topic or "", "k": message.options.latest}, message)

    def reply(self, message: Message, request: str | None) -> bytes:
        return self._framed("-", {"r": request or ""}, message)

    def control(self, name: str, fields: Mapping[str, Any]) -> bytes | None:
        return _frame(Kind.TEXT, b"!%s\n%s" % (name.encode(), _json(fields)))

    def error(self, text: str, request: str | None, *, is_temporary: bool) -> bytes:
        said = {"error": text, "request": request} | ({"temporary": True} if is_temporary else {})
        return _frame(Kind.TEXT, b"!error\n" + to_json(said))

    def read(self, frame: str | bytes) -> Inbound:
        header, payload = split_frame(frame) or ("", "")
        if len(header) > MAX_HEADER:
            raise SocketError(NO_HEADER)
        try:
            first, fields = read_header(header)
        except ValueError:
            raise SocketError(NO_HEADER) from None
        if len(first) > MAX_REQUEST_ID:
            raise SocketError(f"A request id is at most {MAX_REQUEST_ID} characters")
        if first.startswith("!"):
            return _control(first, payload)
        request, wants_reply = None if first == "-" else first, fields.get("want") == "reply"
        if wants_reply and request is None:
            raise SocketError("A request needs an id, for its answer to carry")
        return Inbound(payload, request, wants_reply)

    def _framed(self, first: str, fields: dict[str, str], message: Message) -> bytes:
        if message.kind is Kind.TEXT:
            fields["x"] = "text"
        return _frame(message.kind, b"%s\n%s" % (write_header(first, fields).encode(), message.payload))


PLAIN, VERSION1 = Plain(), Version1()


def wire_for(subprotocols: list[str], chosen: str | None = None) -> Wire:
    """Choose what a client speaks from what it offers, unless the application has *chosen* another for it."""
    return VERSION1 if VERSION_1 in subprotocols and chosen in (None, VERSION_1) else PLAIN


def fields_of(header: str, body: str | bytes, max_depth: int = MAX_JSON_DEPTH) -> dict[str, Any]:
    """
    Read the body of a control frame.

    Raises:
        SocketError: It is no JSON object.
    """
    try:
        fields = decode_json(body, max_depth=max_depth)
    except InvalidJson as error:
        raise SocketError(f"{header}: {error}") from None
    if not isinstance(fields, dict):
        raise SocketError(f"{header}: an object is expected")
    return fields


def _control(header: str, payload: str | bytes) -> Inbound:
    most = MAX_AUTH if header == "!auth" else MAX_CONTROL
    if len(payload) > most:
        raise SocketError(f"{header}: at most {most} characters")
    fields = fields_of(header, payload or "{}")
    request = fields.get("request")
    is_fit = isinstance(request, str) and len(request) <= MAX_REQUEST_ID
    return Inbound(payload, request if is_fit else None, control=header[1:], fields=fields)


def _json(fields: Mapping[str, Any]) -> bytes:
    """Write an object, some of whose values may be `Json` already."""
    if not any(isinstance(value, Json | dict) for value in fields.values()):
        return to_json(fields)
    values = ((to_json(name), _value(value)) for name, value in fields.items())
    return b"{%s}" % b",".join(b"%s:%s" % pair for pair in values)


def _value(value: object) -> bytes:
    if isinstance(value, Json):
        return value.text
    return _json(value) if isinstance(value, dict) else to_json(value)


def _frame(kind: Kind, payload: bytes) -> bytes:
    return framed(OPCODE_BINARY if kind is BINARY else OPCODE_TEXT, payload)
