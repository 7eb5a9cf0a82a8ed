"""What `qrsocket doctor` finds: a mark, what was seen, and what to do next."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from redis.exceptions import RedisError

from qrsocket.errors import Unavailable
from qrsocket.failures import explain


class Severity(Enum):
    """How bad it is, by the mark that it is shown with."""

    FINE = "✓"
    WARNING = "!"
    FAULT = "✗"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What one hop has shown.

    Attributes:
        advice: What to do next; empty when nothing is to be done.
    """

    severity: Severity
    text: str
    advice: str = ""


def fine(hop: str, what: str) -> Finding:
    return Finding(Severity.FINE, f"{hop}: {what}")


def warning(hop: str, what: str, advice: str) -> Finding:
    return Finding(Severity.WARNING, f"{hop}: {what}", advice)


def fault(hop: str, what: str, advice: str) -> Finding:
    return Finding(Severity.FAULT, f"{hop}: {what}", advice)


def attempt(hop: str, check: Callable[[], Finding]) -> Finding:
    """Return what *check* finds; if Redis fails it, that."""
    try:
        return check()
    except (RedisError, Unavailable, OSError) as error:
        return fault(hop, *explain(error))


def since(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.1f} ms"
