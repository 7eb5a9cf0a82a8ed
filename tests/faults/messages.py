"""The messages of a fault run: what is in them, how large they are, and to whom they go."""

import math
import random
from collections.abc import Sequence
from typing import Any

from tests.faults.conditions import CANARY, EVERYONE, FEEDS, ROOMS, USERS

SMALLEST_BYTES, LARGEST_BYTES = 50, 20 * 1024
# Redis counts what a subscriber has not read only above its 16 KiB of fixed buffer: some must be larger than that.
LARGE_SHARE = 0.05
MOST_RECIPIENTS = 5

# The sender of the very last message to each user: who has that has all.
LAST = "last"


def payload(id: str, sender: str, n: int, to: Sequence[str], *, pad_bytes: int) -> dict[str, Any]:
    return {"id": id, "sender": sender, "n": n, "to": list(to), "pad": (CANARY + "x" * pad_bytes)[:pad_bytes]}


def recipients(socket: Any, to: Sequence[str]) -> Any:
    """Name, to a `socket` of either colour, users, a topic, or everyone."""
    if EVERYONE in to:
        return socket.everyone
    return socket.topic(to[0]) if ":" in to[0] else socket.to(to)


def some_recipients(chance: random.Random) -> list[str]:
    """Choose some users, or a topic."""
    die = chance.random()
    if die < 0.02:
        return [EVERYONE]
    if die < 0.2:
        return [chance.choice(FEEDS)]
    return [chance.choice(ROOMS)] if die < 0.45 else some_users(chance)


def some_users(chance: random.Random) -> list[str]:
    return chance.sample(USERS, chance.randint(1, MOST_RECIPIENTS))


def some_size(chance: random.Random) -> int:
    """Return a size for `pad`, in bytes: mostly small."""
    if chance.random() < LARGE_SHARE:
        return LARGEST_BYTES
    return int(math.exp(chance.uniform(math.log(SMALLEST_BYTES), math.log(LARGEST_BYTES))))
