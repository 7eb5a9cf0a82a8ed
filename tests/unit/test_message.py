"""A message is encoded once, as every browser reads it; what cannot be is refused with a reason."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, TypedDict
from uuid import UUID

import pytest
from pydantic import BaseModel, computed_field

from qrsocket.errors import InvalidJson, MessageTooLarge, NotSerializable
from qrsocket.message import MAX_JSON_DEPTH, Close, Delivery, Kind, Message, decode_json, encode

LIMIT = 256 * 1024


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Mood(StrEnum):
    GOOD = "good"


class Profile(BaseModel):
    name: str
    score: float = 1.5


@dataclass
class Point:
    x: int
    y: int


class Progress(TypedDict):
    done: int


class Leaking(BaseModel):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def balance(self) -> int:
        raise KeyError("no such row")


def nested(depth: int, wrap: Callable[[Any], object] = lambda inner: [inner]) -> object:
    value: object = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    ("message", "kind", "payload"),
    [
        ("hello", Kind.TEXT, b"hello"),
        ("", Kind.TEXT, b""),
        ("👋 Grüße", Kind.TEXT, "👋 Grüße".encode()),
        (Mood.GOOD, Kind.TEXT, b"good"),
        (b"\x00\xff", Kind.BINARY, b"\x00\xff"),
        (bytearray(b"\x00\xff"), Kind.BINARY, b"\x00\xff"),
        (memoryview(b"a-b-c")[::2], Kind.BINARY, b"abc"),
        ({"a": [1, 2.5, None, True]}, Kind.JSON, b'{"a":[1,2.5,null,true]}'),
        ([], Kind.JSON, b"[]"),
        (("a", 1), Kind.JSON, b'["a",1]'),
        ({1}, Kind.JSON, b"[1]"),
        (frozenset({"a"}), Kind.JSON, b'["a"]'),
        (None, Kind.JSON, b"null"),
        (42, Kind.JSON, b"42"),
        (Profile(name="Ada"), Kind.JSON, b'{"name":"Ada","score":1.5}'),
        ([Profile(name="Ada")], Kind.JSON, b'[{"name":"Ada","score":1.5}]'),
        (Point(1, 2), Kind.JSON, b'{"x":1,"y":2}'),
        (Progress(done=3), Kind.JSON, b'{"done":3}'),
        (datetime(2024, 2, 29, 12, tzinfo=UTC), Kind.JSON, b'"2024-02-29T12:00:00Z"'),
        ({"on": date(2024, 2, 29), "at": time(12, 30)}, Kind.JSON, b'{"on":"2024-02-29","at":"12:30:00"}'),
        (timedelta(seconds=90), Kind.JSON, b'"PT1M30S"'),
        (UUID(int=1), Kind.JSON, b'"00000000-0000-0000-0000-000000000001"'),
        (Decimal("1.50"), Kind.JSON, b'"1.50"'),
        ({"colour": Colour.RED, "level": Level.HIGH}, Kind.JSON, b'{"colour":"red","level":3}'),
        ({1: "a"}, Kind.JSON, b'{"1":"a"}'),
        ({"text": "NaN, Infinity and [[[["}, Kind.JSON, b'{"text":"NaN, Infinity and [[[["}'),
        (Profile(name="Ada", score=math.nan), Kind.JSON, b'{"name":"Ada","score":null}'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_type_is_encoded(message: object, kind: Kind, payload: bytes) -> None:
    """
    Text goes as text, bytes-like as binary, and anything else as a JSON document.
    """
    assert Message(kind, payload) == encode(message, limit_bytes=LIMIT)


def loop() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (object(), "object cannot be sent as JSON"),
        ({"f": print}, "dict cannot be sent as JSON"),
        (ValueError("x"), "ValueError cannot be sent as JSON"),
        ({"b": b"\xff"}, "dict cannot be sent as JSON"),
        (loop(), "Circular reference"),
        (Leaking(), "Leaking cannot be sent as JSON"),
        ({"a": math.nan}, "it holds NaN or Infinity"),
        ([1.0, math.inf], "it holds NaN or Infinity"),
        ((-math.inf,), "it holds NaN or Infinity"),
        (Point(1, math.nan), "it holds NaN or Infinity"),  # type: ignore[arg-type]
        ("half \ud83d", "half a surrogate pair at position 5"),
        ({"a": "\ud800"}, "surrogates not allowed"),
        ({"\udfff": 1}, "surrogates not allowed"),
        (Profile.model_construct(name="\ud800"), "surrogates not allowed"),
        (nested(MAX_JSON_DEPTH + 1), "nested deeper than 32 levels"),
        (nested(MAX_JSON_DEPTH + 1, lambda inner: {"a": inner}), "nested deeper than 32 levels"),
        (nested(5_000), "list cannot be sent as JSON"),
    ],
    ids=lambda value: ascii(value) if isinstance(value, str) else type(value).__name__,
)
def test_what_no_browser_reads_is_refused(message: object, reason: str) -> None:
    """
    What cannot be written as JSON that every browser reads raises NotSerializable, a TypeError that says why.
    """
    with pytest.raises(NotSerializable, match=reason) as refusal:
        encode(message, limit_bytes=LIMIT)

    assert isinstance(refusal.value, TypeError)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    ("message", "where"),
    [
        (2**53, "integer is"),
        ({"id": 2**53}, "integer at id is"),
        ({"id": -(2**53)}, "integer at id is"),
        ([{"order": {"lines": [1, 1_234_567_890_123_456_789]}}], r"integer at \[0\]\.order\.lines\[1\] is"),
        (Point(10**30, 1), "integer at x is"),
        (nested(MAX_JSON_DEPTH - 1, lambda inner: [inner, 2**64]), r"integer at \[1\] is"),
        ({"id": 10**400}, "integer at id is"),
    ],
    ids=ascii,
)
def test_an_integer_that_javascript_changes(message: object, where: str) -> None:
    """
    An integer beyond ±(2^53 - 1) is refused, and where it is: in a browser it would be another.

    Source: https://tc39.es/ecma262/#sec-number.max_safe_integer
    """
    with pytest.raises(NotSerializable, match=f"{where} beyond .* so JavaScript changes it: send it as text"):
        encode(message, limit_bytes=LIMIT)


@pytest.mark.parametrize(
    "message",
    [
        {"id": 2**53 - 1},
        {"id": -(2**53 - 1)},
        {"id": "1234567890123456789"},
        {"text": "order 1234567890123456789 of 10"},
        {1234567890123456789: True},
        {"id": Decimal(1234567890123456789)},
        [0.1234567890123456789, 1e300, 123456789012345680.0, -1.2345678901234567e-300],
        {"at": 1767225600.123456, "ms": 1767225600123},
        [123456789012345, 678901234567890],
        {"key": UUID(int=0)},
    ],
    ids=ascii,
)
def test_long_numbers_that_pass(message: object) -> None:
    """
    What a browser reads as it is passes: smaller integers, floats of many digits, and digits in texts and keys.
    """
    assert encode(message, limit_bytes=LIMIT).payload


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}], ids=["list", "dict"])
def test_32_levels_pass_both_ways(wrap: Callable[[Any], object]) -> None:
    """
    A document of 32 levels is sent and taken; the 33rd is refused both ways.
    """
    deepest = nested(MAX_JSON_DEPTH, wrap)

    payload = encode(deepest, limit_bytes=LIMIT).payload

    assert deepest == decode_json(payload)
    with pytest.raises(NotSerializable):
        encode(wrap(deepest), limit_bytes=LIMIT)
    with pytest.raises(InvalidJson, match="nested deeper than 32 levels"):
        decode_json(str(wrap(deepest)).replace("'", '"'))


def test_a_wide_document_is_not_deep() -> None:
    """
    Many brackets side by side are no depth.
    """
    wide = [[] for _ in range(1_000)]  # type: ignore[var-annotated]

    assert wide == decode_json(encode(wide, limit_bytes=LIMIT).payload)


@pytest.mark.parametrize(
    "of_size",
    [
        lambda size: "x" * size,
        lambda size: b"x" * size,
        lambda size: ["x" * (size - 4)],
        lambda size: "é" * (size // 2) + "x" * (size % 2),
    ],
    ids=["text", "binary", "json", "utf-8"],
)
def test_the_limit_is_in_encoded_bytes(of_size: Callable[[int], object]) -> None:
    """
    A message of exactly the limit passes; one byte more raises MessageTooLarge with both sizes.
    """
    limit = 1_000

    assert limit == len(encode(of_size(limit), limit_bytes=limit).payload)
    with pytest.raises(MessageTooLarge, match=r"1001 bytes is over the limit of 1000") as refusal:
        encode(of_size(limit + 1), limit_bytes=limit)
    assert (limit + 1, limit) == (refusal.value.size_bytes, refusal.value.limit_bytes)


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        ('{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        (b'"gr\xc3\xbcn"', "grün"),
        (r'"\ud83d\ude00"', "😀"),
        (" 1 ", 1),
        ("1e308", 1e308),
        ('{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_json_of_a_client_is_parsed(payload: str | bytes, value: object) -> None:
    """
    What a client sends is parsed as JSON, text or bytes.
    """
    assert value == decode_json(payload)


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "{",
        "'a'",
        "[1,]",
        "01",
        "1 2",
        "NaN",
        '{"a": Infinity}',
        "-Infinity",
        "[1e400]",
        "-1e400",
        '"a\x01b"',
        "\ufeff1",
        r'"\ud800"',
        '"\ud800"',
        r'{"\udc00": 1}',
        b'"\xff"',
        b"\x00",
        "9" * 65_536,
        "[" * 65_536,
        '{"a":' * 65_536,
        "[" * 33 + "]" * 33,
    ],
    ids=lambda payload: ascii(payload[:12]),
)
def test_what_is_no_json_is_refused(payload: str | bytes) -> None:
    """
    What a client may not send raises InvalidJson, whose text quotes nothing of it.
    """
    with pytest.raises(InvalidJson) as refusal:
        decode_json(payload)

    assert str(refusal.value) in {
        "Invalid JSON",
        "Invalid JSON: a number is too large",
        "Invalid JSON: nested deeper than 32 levels",
    }
    assert refusal.value.__cause__ is None


def test_a_delivery_to_nobody_is_falsy() -> None:
    """
    A Delivery is true when a connection was reached.
    """
    assert Delivery("id", connections=1, nodes=1)
    assert not Delivery("id", connections=0, nodes=0)


@pytest.mark.parametrize("code", [1000, 3000, 4100, 4999])
def test_a_close_travels_as_a_message(code: int) -> None:
    """
    A Close arrives as it was sent: code and reason.
    """
    close = Close(code, "é" * 61)

    message = close.to_message()

    assert Kind.CLOSE == message.kind
    assert close == Close.from_payload(message.payload)


@pytest.mark.parametrize("code", [-1, 0, 999, 1001, 1005, 1006, 1011, 1015, 2999, 5000, 65_536])
def test_a_close_code_that_is_not_for_applications_is_refused(code: int) -> None:
    """
    Only 1000 and 3000 to 4999 may be sent by an application.
    """
    with pytest.raises(ValueError, match=f"close code {code} is not for applications"):
        Close(code, "").to_message()


def test_a_close_reason_is_at_most_123_bytes() -> None:
    """
    A reason of 123 bytes passes, of 124 is refused: RFC 6455 gives a control frame 125 bytes.
    """
    assert Close(1000, "é" * 61 + "x").to_message()
    with pytest.raises(ValueError, match="at most 123 bytes"):
        Close(1000, "é" * 62).to_message()
