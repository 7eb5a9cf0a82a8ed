"""Where a client is in what was sent to it, and what it has missed since."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from qrsocket.message import NO_OPTIONS, Kind, Message, Options
from qrsocket.signing import Ring
from qrsocket.streams import Stream

logger = logging.getLogger(__name__)


class Position(NamedTuple):
    """
    A place in the messages of one stream.

    Attributes:
        epoch: Names the life of the Redis that gave out the offset; positions of two epochs cannot be compared.
        offset: Of the last message that was seen. The next has one more.
    """

    epoch: str
    offset: int


class Entry(NamedTuple):
    """A message that was kept."""

    offset: int
    message: Message


@dataclass(frozen=True, slots=True)
class Missed:
    """
    A page of what was sent after a position.

    Attributes:
        top: Position of the newest message of the stream.
        reached: Position after this page; more is to be read until that is *top*.
        is_whole: Nothing is missing before the page or in it. Otherwise Redis did not keep all that was asked for.
    """

    top: Position
    reached: Position
    is_whole: bool
    entries: tuple[Entry, ...] = ()

    @property
    def start(self) -> Position:
        """The position from which the page goes on without a gap."""
        return Position(self.top.epoch, self.entries[0].offset - 1) if self.entries else self.reached


def parse_missed(epoch: str, page: Sequence[Any], stream: Stream, ring: Ring | None = None) -> Missed:
    """Read what `missed` of history.lua returns of *stream*, and leave out what no key of *ring* has signed."""
    top, reached, is_whole, *kept = page
    entries = tuple(_readable(stream, kept, ring))
    offsets = [int(entry[0]) for entry in kept]
    follow = all(after == before + 1 for before, after in pairwise(offsets))
    is_genuine = ring is None or len(entries) == len(kept)
    return Missed(
        Position(epoch, int(top)), Position(epoch, int(reached)), bool(is_whole) and follow and is_genuine, entries
    )


def _readable(stream: Stream, entries: Sequence[Any], ring: Ring | None) -> Iterator[Entry]:
    for offset, kind, payload, *rest in entries:
        try:
            options, signature, *_ = *(word.decode() for word in rest), "", ""
            message = Message(Kind(kind.decode()), payload, Options.of_words(options) if options else NO_OPTIONS)
            if ring is None or ring.is_genuine(ring.content(message.kind, options, payload), stream, signature):
                yield Entry(int(offset), message)
        except ValueError:  # from a newer version: one such message must not keep a client from all others
            logger.warning("message of an unknown kind skipped", extra={"offset": int(offset)})
