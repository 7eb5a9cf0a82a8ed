"""What a test expects to receive, and whether a message is that."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypeAliasType

from qrsocket.testing.transcript import in_short

# `None` is a message: JSON's null.
ANYTHING: Any = type("Anything", (), {"__repr__": lambda self: "ANYTHING"})()


class Mismatch(Exception):
    """Raised when a message is not what is expected. The text tells what cannot be seen."""


@dataclass(frozen=True, slots=True)
class Received:
    """
    A message as it came.

    Attributes:
        payload: Of a text frame or of a binary one.
        value: The bytes; or the text, if that was sent as a `str`; or the JSON's value.
    """

    payload: str | bytes
    value: Any

    @staticmethod
    def read(payload: str | bytes, *, is_text: bool = False) -> "Received":
        return Received(payload, payload if is_text or isinstance(payload, bytes) else from_json(payload))

    def __str__(self) -> str:
        return in_short(self.payload)


def match(expected: Any, received: Received) -> Any:
    """
    Return the message, if it is what is *expected*: validated, if that is a type.

    Raises:
        Mismatch: It is not.
    """
    if expected is ANYTHING:
        return received.value
    if is_type(expected):
        return _validated(expected, received)
    if callable(expected):
        return _accepted(expected, received)
    if isinstance(expected, str):
        is_it = expected == received.value
    elif isinstance(expected, bytes | bytearray | memoryview):
        is_it = bytes(expected) == received.payload
    else:
        is_it = not isinstance(received.payload, bytes) and from_json(to_json(expected)) == received.value
    if not is_it:
        raise Mismatch
    return received.value


def describe(expected: Any) -> str:
    if expected is ANYTHING:
        return "a message"
    if is_type(expected):
        return f"a message that is a {expected.__name__ if isinstance(expected, type) else expected}"
    if callable(expected):
        return f"a message that {getattr(expected, '__qualname__', expected)} accepts"
    return f"the message {expected!r}"


def is_type(expected: Any) -> bool:
    """Whether it is an annotation: a class, `list[int]`, `A | B`, `Annotated[…]` …"""
    return isinstance(expected, type | TypeAliasType) or get_origin(expected) is not None or expected is Any


def _validated(expected: Any, received: Received) -> Any:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(expected)
    except PydanticUserError as error:
        raise TypeError(f"{expected!r} is no type that a message can be: {error}") from None
    try:
        if isinstance(received.payload, bytes) or received.value is received.payload:
            return adapter.validate_python(received.value, strict=True)
        return adapter.validate_json(received.payload)  # in which a datetime is a str
    except ValidationError as error:
        raise Mismatch(_in_words(error)) from None


def _in_words(error: ValidationError) -> str:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return "\n".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in details)


def _accepted(accepts: Callable[[Any], object], received: Received) -> Any:
    try:
        is_it = accepts(received.value)
    except Exception as error:  # `message["done"] == 3`, asked of another message
        raise Mismatch(repr(error)) from error
    if not is_it:
        raise Mismatch
    return received.value
