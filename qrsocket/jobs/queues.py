"""Queues in which jobs wait, and whether a worker consumes them."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Queue:
    """
    A queue in which jobs wait.

    Attributes:
        seconds: Since the first of them does.
        is_consumed: By a worker that uses qrsocket; nothing is known of others.
    """

    name: str
    jobs: int
    seconds: int
    is_consumed: bool


def queues_of(lines: Iterable[tuple[str, int, int]], consumed: Collection[str]) -> tuple[Queue, ...]:
    """
    Return the queues, sorted by name.

    Args:
        lines: Of each shard: queue, jobs that wait, seconds since the first does.
        consumed: Names, and patterns of topic exchanges.
    """
    together: dict[str, tuple[int, int]] = {}
    for name, jobs, seconds in lines:
        known_jobs, known_seconds = together.get(name, (0, 0))
        together[name] = known_jobs + jobs, max(known_seconds, seconds)
    return tuple(Queue(name, *together[name], _is_consumed(name, consumed)) for name in sorted(together))


def duration(seconds: float) -> str:
    """Say how long, in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds // 60:.0f} min"
    return f"{seconds // 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds // 86400:.0f} d"


def _is_consumed(queue: str, consumed: Collection[str]) -> bool:
    return queue in consumed or any(re.fullmatch(_expression(pattern), queue) for pattern in consumed)


def _expression(pattern: str) -> str:
    words = {"#": r".*", "*": r"[^.]+"}
    return r"\.".join(words.get(word, re.escape(word)) for word in pattern.split("."))
