"""
What is on the wire, in each of the two protocols.

Plain: exactly what the application sends; any WebSocket client will do. `qrsocket.v1`: every frame is a header line and
a body, so that a client knows where it is and what it may have missed:

    <offset>\\n<payload>       a message, text or binary, its payload untouched; one without an offset is not kept
    !job <offset>\\n<json>     a job has entered a state: kept and counted like a message
    !<name>\\n<json>           from us: ready, gap, error, draining, pong, and of jobs job (how far it is) and chunk;
                              from the client: hello, as its first frame, then ping, jobs, cancel, read
    <request id>\\n<payload>   from the client: a message; the id, which may be empty, comes back in its error
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from pydantic_core import to_json

from qrsocket.errors import InvalidJson, SocketError
from qrsocket.message import MAX_JSON_DEPTH, Kind, Message, decode_json
from qrsocket.position import Position

VERSION_1 = "qrsocket.v1"
MAX_REQUEST_ID = MAX_EPOCH = 64
CONTROLS = ("ping", "jobs", "cancel", "read")
MAX_CONTROL = 4096
MAX_OFFSET = 2**53  # JavaScript counts no further

NAMES = {Kind.JOB: b"job", Kind.PROGRESS: b"job", Kind.CHUNK: b"chunk"}

# An ASGI send event, which many connections share, and its size in bytes.
Event: TypeAlias = tuple[dict[str, Any], int]


@dataclass(frozen=True, slots=True)
class Hello:
    """
    The first frame of a client that speaks `qrsocket.v1`.

    Attributes:
        since: Where it was when it lost its connection.
        auth: What says who it is, for `authenticate`.
    """

    since: Position | None
    auth: Any


@dataclass(frozen=True, slots=True)
class Inbound:
    """
    A message from a client.

    Attributes:
        request: The client's own id of it, if it gave one.
        control: What it asks of us, and not of the application, with these fields.
    """

    payload: str | bytes
    request: str | None = None
    control: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class Wire(Protocol):
    """How messages and errors are written for a client, and its own are read."""

    subprotocol: str | None

    def message(self, offset: int | None, message: Message) -> Event: ...

    def control(self, name: str, fields: dict[str, Any]) -> Event | None:
        """Return what tells a client about its connection; None if it cannot be told."""
        ...

    def error(self, text: str, request: str | None) -> Event: ...

    def read(self, frame: str | bytes) -> Inbound:
        """
        Read a message of a client.

        Raises:
            SocketError: It is not one.
        """
        ...


class Plain:
    subprotocol: str | None = None

    def message(self, offset: int | None, message: Message) -> Event:
        return _event(message.kind, message.payload)

    def control(self, name: str, fields: dict[str, Any]) -> Event | None:
        return None

    def error(self, text: str, request: str | None) -> Event:
        return _event(Kind.TEXT, to_json({"error": text}))

    def read(self, frame: str | bytes) -> Inbound:
        return Inbound(frame)


class Version1:
    subprotocol: str | None = VERSION_1

    def message(self, offset: int | None, message: Message) -> Event:
        number = b"" if offset is None else b"%d" % offset
        name = NAMES.get(message.kind)
        header = number if name is None else b"!%s %s" % (name, number) if number else b"!" + name
        return _event(message.kind, b"%s\n%s" % (header, message.payload))

    def control(self, name: str, fields: dict[str, Any]) -> Event | None:
        return _event(Kind.TEXT, b"!%s\n%s" % (name.encode(), to_json(fields)))

    def error(self, text: str, request: str | None) -> Event:
        return _event(Kind.TEXT, b"!error\n" + to_json({"error": text, "request": request}))

    def read(self, frame: str | bytes) -> Inbound:
        header, payload = _split(frame)
        if header[1:] in CONTROLS and header[0] == "!":
            if len(payload) > MAX_CONTROL:
                raise SocketError(f"{header}: at most {MAX_CONTROL} characters")
            fields = _fields(header, payload or "{}")
            request = fields.get("request")
            is_fit = isinstance(request, str) and len(request) <= MAX_REQUEST_ID
            return Inbound(payload, request if is_fit else None, header[1:], fields)
        if header.startswith("!"):
            raise SocketError(f"{header[:MAX_REQUEST_ID]} is not expected here: !hello is the first frame, or none")
        if len(header) > MAX_REQUEST_ID:
            raise SocketError(f"A request id is at most {MAX_REQUEST_ID} characters")
        return Inbound(payload, header or None)


PLAIN, VERSION1 = Plain(), Version1()


def wire_for(subprotocols: list[str], chosen: str | None = None) -> Wire:
    """Choose what a client speaks from what it offers, unless the application has *chosen* another for it."""
    return VERSION1 if VERSION_1 in subprotocols and chosen in (None, VERSION_1) else PLAIN


def read_hello(frame: str | bytes, *, max_depth: int) -> Hello | None:
    """
    Read the first frame of a client that speaks `qrsocket.v1`; None if it is a message already.

    Raises:
        SocketError: It is a `!hello` that we cannot read.
    """
    if not isinstance(frame, str) or not frame.startswith("!hello\n"):
        return None
    fields = _fields("!hello", frame.partition("\n")[2], max_depth)
    return Hello(_since(fields), fields.get("auth"))


def _fields(header: str, body: str | bytes, max_depth: int = MAX_JSON_DEPTH) -> dict[str, Any]:
    try:
        fields = decode_json(body, max_depth=max_depth)
    except InvalidJson as error:
        raise SocketError(f"{header}: {error}") from None
    if not isinstance(fields, dict):
        raise SocketError(f"{header}: an object is expected")
    return fields


def _since(fields: dict[str, Any]) -> Position | None:
    match fields.get("epoch"), fields.get("offset"):
        case None, None:
            return None
        case _, bool():
            pass
        case str(epoch), int(offset) if 0 < len(epoch) <= MAX_EPOCH and 0 <= offset <= MAX_OFFSET:
            return Position(epoch, offset)
    raise SocketError("!hello: epoch and offset are those of the last ready, gap or message, or both are left out")


def _split(frame: str | bytes) -> tuple[str, str | bytes]:
    if isinstance(frame, str):
        head, separator, text = frame.partition("\n")
        payload: str | bytes = text
    else:
        line, mark, payload = frame.partition(b"\n")
        head, separator = line.decode(errors="replace"), mark.decode()
    if not separator:
        raise SocketError(f"A frame of {VERSION_1} begins with a line: a request id, or nothing")
    return head, payload


def _event(kind: Kind, payload: bytes) -> Event:
    if kind is Kind.BINARY:
        return {"type": "websocket.send", "bytes": payload}, len(payload)
    return {"type": "websocket.send", "text": payload.decode()}, len(payload)
