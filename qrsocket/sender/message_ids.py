"""The ids that messages go by: what has the same id is the same message, and arrives once."""

import os
import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import count
from typing import NamedTuple
from uuid import uuid4

from qrsocket.context import TaskRun
from qrsocket.fanout.publish import REMEMBER
from qrsocket.keys import fit
from qrsocket.message import Message
from qrsocket.streams import Stream

MAX_ID_BYTES = 200
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


class Named(NamedTuple):
    """
    What a message is known by, and whom it is for.

    Attributes:
        id: What the caller is told.
        wire_id: What Redis and the nodes know it by. Those of callers, of tasks and our own differ in their first
            characters, so that none is ever taken for another.
        streams: In an order that the same ones always have where the message may be sent again, since they go in
            batches, each under an id of its own.
        remember: Seconds in which the message is the same when it is sent again.
    """

    id: str
    wire_id: str
    streams: Sequence[Stream]
    remember: float


def name(message: Message, streams: Sequence[Stream], given: str | None, task_run: TaskRun | None) -> Named:
    """
    Name a message by the id that was *given* for it, by its place in the *task_run* that sends it, or anew.

    Raises:
        ValueError: *given* is not text of 1 to 200 bytes without control characters.
    """
    remember = REMEMBER if task_run is None else max(task_run.remember, REMEMBER)
    if given is not None:
        _check(given)
        streams = sorted(streams)
        # With a digest of whom it is for: the same words to someone else are another message.
        return Named(given, f"={given}:{_digest(streams)}", streams, remember)
    if task_run is not None:
        streams = sorted(streams)
        # The number alone would lose messages: a task that is run again, and takes another path since the world has
        # changed, sends as its n-th what it has not sent before. By the digest that is another message.
        id = f"{fit(task_run.task_id)}:{next(task_run.numbers)}:{_digest(streams, message)}"
        return Named(id, id, streams, remember)
    id = next(_new_ids)
    return Named(id, id, streams, remember)


def told_id(wire_id: str) -> str:
    """Return the id that the caller was told for what Redis and the nodes know by *wire_id*, of a batch too."""
    begin, colon, last = wire_id.rpartition(":")
    return begin[1:] if wire_id.startswith("=") else f"{begin}{colon}{last.partition('.')[0]}"


def _check(given: str) -> None:
    try:
        is_fit = 0 < len(given.encode()) <= MAX_ID_BYTES and not CONTROL_CHARACTER.search(given)
    except (AttributeError, UnicodeEncodeError):  # not text, or half a surrogate pair
        is_fit = False
    if not is_fit:
        raise ValueError(
            f"message_id is text of 1 to {MAX_ID_BYTES} bytes of UTF-8 without control characters, such as "
            f'f"order-{{order.id}}-shipped". Hash one that is longer; leave it out where a message is never sent twice'
        )


def _digest(streams: Sequence[Stream], message: Message | None = None) -> str:
    digest = blake2b("\t".join(streams).encode(), digest_size=8)
    if message is not None:
        digest.update(f"\n{message.kind} {message.options.to_words()}\n".encode())
        digest.update(message.payload)
    return digest.hexdigest()


def _ids_of_this_process() -> Iterator[str]:
    process = uuid4().hex
    return (f"{process}:{number}" for number in count(1))


_new_ids = _ids_of_this_process()


def _after_fork() -> None:
    global _new_ids  # a forked child that counts on would use its parent's ids, and its messages would be dropped
    _new_ids = _ids_of_this_process()


os.register_at_fork(after_in_child=_after_fork)
