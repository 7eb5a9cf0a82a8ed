"""A message: encoded once where it is sent, checked once where it comes in."""

import re
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError, from_json, to_json

from qrsocket.errors import CloseCode, InvalidJson, MessageTooLarge, NotSerializable
from qrsocket.headers import read_words, words
from qrsocket.spans import TraceContext

MAX_JSON_DEPTH = 32
# In what a client sends. 1 MB can hold 350 000, and each costs far more than its bytes.
MAX_JSON_VALUES = 100_000
# JavaScript's numbers are doubles: two integers above this may be one there.
# Source: https://tc39.es/ecma262/#sec-number.max_safe_integer
MAX_INTEGER = 2**53 - 1
# With every digit a 0, a long number is found by one search: 3 ns a byte, against 60 for a regular expression.
ZEROS = bytes.maketrans(b"123456789", b"000000000")
LONG_NUMBER = b"0" * len(str(MAX_INTEGER))
# What that has found may be a fraction, as of 0.1 + 0.2.
LONG_INTEGER = re.compile(rb"(?<![\d.eE+-])-?\d{16,}(?![\d.eE])")


class Kind(StrEnum):
    """What an envelope carries, as its first letter."""

    JSON = "j"
    TEXT = "t"
    BINARY = "b"
    CLOSE = "c"
    JOIN = "i"
    LEAVE = "o"
    JOB = "s"
    PROGRESS = "g"
    CHUNK = "w"
    MEMBERS = "m"
    HEARTBEAT = "h"
    PROBE = "p"


# By its letter: to look a kind up in the enumeration takes ten times as long. Its hash is a call of Python, too: where
# every message comes by, kinds are compared by identity.
KINDS = {kind.value: kind for kind in Kind}
JSON, TEXT, BINARY = Kind.JSON, Kind.TEXT, Kind.BINARY
# What connections are to do: not shown to their clients.
ORDERS = frozenset((Kind.CLOSE, Kind.JOIN, Kind.LEAVE))


class Options(NamedTuple):
    """
    What nodes are to mind when they deliver a message.

    Attributes:
        latest: Of what waits for a client under this name only the newest counts.
        but: Id of a connection that does not get it, if it is *user*'s.
        user: Id of the user whose connection it must be to get it; with *but* see there.
        traceparent, tracestate: The span that has sent it; without a tracer, or if it is not sampled, empty.
    """

    latest: str = ""
    but: str = ""
    user: str = ""
    traceparent: str = ""
    tracestate: str = ""

    @property
    def is_for_all(self) -> bool:
        """Whether every connection of a stream gets it."""
        return not (self.but or self.user)

    @property
    def trace(self) -> TraceContext:
        return TraceContext(self.traceparent, self.tracestate)

    def to_words(self) -> str:
        return " ".join(words(self._asdict())) if any(self) else ""

    @staticmethod
    def of_words(text: str) -> "Options":
        known = read_words(text.split(" "))
        return Options(*(known.get(name, "") for name in Options._fields))


NO_OPTIONS = Options()


@dataclass(slots=True)  # one is made for each frame, and a frozen one takes three times as long
class Message:
    """
    What is sent, as it travels.

    Attributes:
        payload: UTF-8 for JSON and text; for CLOSE the JSON of a `Close`; for JOIN and LEAVE the name of a topic.
    """

    kind: Kind
    payload: bytes
    options: Options = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    Where a message went; falsy when nobody was online.

    Attributes:
        message_id: Unique. A message sent again under the same id within 300 s is delivered once.
        connections: Open connections that it was routed to. Routed is not read: a client may drop before.
        nodes: Web nodes that it was routed to.
        repeated: The message was sent before under this id, and not again now. The numbers are those of that time.
    """

    message_id: str
    connections: int
    nodes: int
    repeated: bool = False

    def __bool__(self) -> bool:
        return self.connections > 0


@dataclass(frozen=True, slots=True)
class Close:
    """An order to close connections."""

    code: int
    reason: str

    def to_message(self) -> Message:
        if self.code != CloseCode.NORMAL and not 3000 <= self.code <= 4999:
            raise ValueError(
                f"close code {self.code} is not for applications: use 1000 or 3000 to 4999 (RFC 6455, 7.4)"
            )
        if len(self.reason.encode()) > 123:  # a control frame holds 125 bytes, two of them the code
            raise ValueError("a close reason is at most 123 bytes of UTF-8")
        return Message(Kind.CLOSE, to_json(self))

    @staticmethod
    def from_payload(payload: bytes) -> "Close":
        return Close(**from_json(payload))


def encode(message: object, *, limit_bytes: int, max_depth: int = MAX_JSON_DEPTH) -> Message:
    """
    Encode *message* as it will reach the browser.

    Args:
        message: `str` becomes a text frame, bytes-like a binary frame, anything else a JSON document. In a Pydantic
            model NaN is written as its own configuration says (`null` by default); elsewhere it is refused.

    Raises:
        NotSerializable: It cannot be written as JSON, is nested over *max_depth* levels, or holds NaN, Infinity, half a
            surrogate pair (browsers refuse them) or an integer beyond ±(2^53 - 1) (they change it).
        MessageTooLarge: It is over *limit_bytes*.
    """
    if isinstance(message, str):
        encoded = Message(Kind.TEXT, _to_utf8(message))
    elif isinstance(message, bytes | bytearray | memoryview):
        encoded = Message(Kind.BINARY, bytes(message))
    else:
        encoded = Message(Kind.JSON, _to_json(message, max_depth))
    if len(encoded.payload) > limit_bytes:
        raise MessageTooLarge(len(encoded.payload), limit_bytes)
    return encoded


def decode_json(payload: str | bytes, *, max_depth: int = MAX_JSON_DEPTH) -> Any:
    """
    Parse what a client sent.

    Raises:
        InvalidJson: Not JSON, nested over *max_depth* levels, of over 100 000 values, or with NaN, Infinity, a number
            beyond a double or half a surrogate pair.
    """
    try:
        value = from_json(payload, allow_inf_nan=False)
    except (ValueError, TypeError):  # TypeError: a str with half a surrogate pair
        raise InvalidJson("Invalid JSON") from None  # the cause quotes the payload
    _check_shape(value, max_depth, MAX_JSON_VALUES)
    return value


def _to_utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise NotSerializable(f"half a surrogate pair at position {error.start} of the text") from None


def _to_json(value: object, max_depth: int) -> bytes:
    try:
        payload = to_json(value)
    except (PydanticSerializationError, RecursionError) as error:
        raise NotSerializable(f"{type(value).__name__} cannot be sent as JSON: {error}") from None
    # All are rare, and most documents are cleared by a scan in C: only a suspect is parsed again.
    is_deep = payload.count(b"[") + payload.count(b"{") > max_depth
    has_long = LONG_NUMBER in payload.translate(ZEROS) and LONG_INTEGER.search(payload)
    if is_deep or has_long or b"NaN" in payload or b"Infinity" in payload:
        try:
            parsed = from_json(payload, allow_inf_nan=False)
            _check_shape(parsed, max_depth)
            _check_integers(parsed)
        except ValueError as error:
            reason = error if isinstance(error, InvalidJson) else "it holds NaN or Infinity"
            raise NotSerializable(f"{type(value).__name__} cannot be sent as JSON: {reason}") from None
    return payload


def _check_integers(value: Any) -> None:
    found = [("", value)]
    for where, item in found:  # which grows meanwhile
        if isinstance(item, dict):
            found += [(f"{where}.{key}", part) for key, part in item.items()]
        elif isinstance(item, list):
            found += [(f"{where}[{index}]", part) for index, part in enumerate(item)]
        elif isinstance(item, int) and abs(item) > MAX_INTEGER:
            place = f" at {where.lstrip('.')[:200]}" if where else ""
            raise InvalidJson(f"the integer{place} is beyond ±(2^53 - 1), so JavaScript changes it: send it as text")


def _check_shape(value: Any, max_depth: int, max_values: float = inf) -> None:
    level, depth, values = [value], 0, 1
    while level:
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
            elif isinstance(item, float) and not isfinite(item):
                raise InvalidJson("Invalid JSON: a number is too large")
        depth += any(isinstance(item, dict | list) for item in level)
        if depth > max_depth:
            raise InvalidJson(f"Invalid JSON: nested deeper than {max_depth} levels")
        values += len(deeper)
        if values > max_values:
            raise InvalidJson(f"Invalid JSON: more than {max_values} values")
        level = deeper
