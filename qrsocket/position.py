"""Where a client is in what was sent to it, and what it has missed since."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from qrsocket.logger import Logger
from qrsocket.message import NO_OPTIONS, Kind, Message, Options
from qrsocket.signing import Ring
from qrsocket.streams import Stream

logger = Logger(__name__)


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
        is_refused: Something in it was not of the application, or not of a key that counts any more.
    """

    top: Position
    reached: Position
    is_whole: bool
    entries: tuple[Entry, ...] = ()
    is_refused: bool = False

    @property
    def start(self) -> Position:
        """The position from which the page goes on without a gap."""
        return Position(self.top.epoch, self.entries[0].offset - 1) if self.entries else self.reached


def parse_missed(epoch: str, page: Sequence[Any], stream: Stream, ring: Ring | None = None) -> Missed:
    """Read what `missed` of history.lua returns of *stream*, and leave out what no key of *ring* has signed."""
    top, reached, is_whole, *kept = page
    entries, is_refused = _readable(stream, kept, ring)
    is_whole = bool(is_whole) and not is_refused
    return Missed(Position(epoch, int(top)), Position(epoch, int(reached)), is_whole, tuple(entries), is_refused)


def _readable(stream: Stream, kept: Sequence[Any], ring: Ring | None) -> tuple[list[Entry], bool]:
    """Return the messages, and whether there was one that no key of *ring* has signed."""
    entries, is_refused = [], False
    for offset, kind, payload, *rest in kept:
        try:
            options, signature, *_ = *(word.decode() for word in rest), "", ""
            message = Message(Kind(kind.decode()), payload, Options.of_words(options) if options else NO_OPTIONS)
            if ring is None or ring.is_genuine(ring.content(message.kind, options, payload), stream, signature):
                entries.append(Entry(int(offset), message))
            else:
                is_refused = True
        except ValueError:  # from a newer version: one such message must not keep a client from all others
            logger.warning("message of an unknown kind skipped", stream=stream, offset=int(offset))
    return entries, is_refused
