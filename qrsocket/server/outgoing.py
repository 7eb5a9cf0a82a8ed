"""
What waits to be written to clients. Nobody who offers a frame ever waits. (Over 250 lines: offering and writing keep
the same sums true.)

What comes for a connection within one turn of the loop, or one read from Redis, is written together: the system call is
most of what a message costs.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from qrsocket.errors import CloseCode
from qrsocket.logger import Logger
from qrsocket.server.outbox import Outbox, flush
from qrsocket.settings import Settings

logger = Logger(__name__)

Write: TypeAlias = Callable[[list[bytes]], Any]

PIECE_BYTES = 64 * 1024


def _piece_of(frames: Iterable[bytes]) -> list[bytes]:
    """Return the first of *frames*: one at least, and others as long as they are few bytes together."""
    piece: list[bytes] = []
    size_bytes = 0
    for frame in frames:
        size_bytes += len(frame)
        if piece and size_bytes > PIECE_BYTES:
            break
        piece.append(frame)
    return piece


class Outgoing:
    """
    Frames for one client, in order, and the newest of each kind of which only that counts.

    Attributes:
        closing: Code and reason once it is to be closed, by us or by the client.
    """

    __slots__ = (
        "_asked",
        "_asked_bytes",
        "_max_bytes",
        "_max_messages",
        "_newest",
        "_newest_bytes",
        "_outbox",
        "_patience",
        "_stuck",
        "_waiting",
        "_waiting_bytes",
        "_write",
        "_writer",
        "_written",
        "closing",
    )

    def __init__(self, outbox: Outbox, settings: Settings) -> None:
        self.closing: tuple[int, str] | None = None
        self._outbox = outbox
        self._max_messages, self._max_bytes = settings.max_queued_messages, settings.max_queued_bytes
        self._patience = settings.ping_timeout
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._asked = self._asked_bytes = 0  # of what waits: not held against the client
        self._newest: dict[str, bytes] = {}
        self._newest_bytes = 0
        self._writer: Write | None = None
        self._write: Write | None = None  # None before it begins, and while the client is not ready for more
        self._written: asyncio.Event | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def close(self, code: int, reason: str = "") -> None:
        raise NotImplementedError

    @property
    def facts(self) -> dict[str, object]:
        """Whose it is, for the log."""
        return {}

    # Offering

    def offer(self, frame: bytes) -> None:
        """
        Queue a frame. A client that is too slow for what is sent to it is closed (4000).

        What waited before counts, so that one large frame alone makes no client slow.
        """
        if self.closing is not None:
            return
        waiting = self._waiting
        if not waiting:
            self._outbox.add(self)
        elif (
            len(waiting) >= self._max_messages + self._asked
            or self._waiting_bytes > self._max_bytes + self._asked_bytes
        ):
            flush(self)
            waiting = self._waiting
            if waiting:
                self._forget()
                self.close(CloseCode.SLOW_CONSUMER, "too slow to read what is sent")
            if self.closing is not None:
                return
        waiting.append(frame)
        self._waiting_bytes += len(frame)

    def offer_whatever_waits(self, frame: bytes) -> None:
        """Queue a frame that is not held against the client, since it is not more than it has asked for."""
        if self.closing is None:
            if not self._waiting:
                self._outbox.add(self)
            self._waiting.append(frame)
            self._waiting_bytes += len(frame)
            self._asked += 1
            self._asked_bytes += len(frame)

    def offer_newest(self, of: str, frame: bytes) -> None:
        """
        Queue a frame of which only the newest *of* its kind counts. It goes when nothing else waits. Of more kinds
        than may wait the oldest is dropped: nobody is promised any of them.
        """
        if self.closing is None:
            self._newest_bytes += len(frame) - len(self._newest.get(of, b""))
            self._newest[of] = frame
            while self._newest_bytes > self._max_bytes:
                self._forget_newest(next(iter(self._newest)))
            self._outbox.add(self)

    def drop_newest(self, of: str | None = None) -> None:
        """Drop what waits *of* this kind, or of all, since what is offered next is newer."""
        for name in tuple(self._newest) if of is None else (of,):
            self._forget_newest(name)

    def _forget_newest(self, of: str) -> None:
        self._newest_bytes -= len(self._newest.pop(of, b""))

    @property
    def is_writable(self) -> bool:
        """Whether the client takes more now."""
        return self._write is not None

    @property
    def waiting_messages(self) -> int:
        return len(self._waiting) + len(self._newest)

    @property
    def waiting_bytes(self) -> int:
        return self._waiting_bytes + self._newest_bytes

    @property
    def has_room(self) -> bool:
        """
        Whether what waits is written now, or is less than half of what may: to be sent to as others are, it must not be
        nearly full.
        """
        if self._write is not None:
            return True
        return 2 * len(self._waiting) <= self._max_messages and 2 * self._waiting_bytes <= self._max_bytes

    async def wait_written(self) -> None:
        """Wait until nothing waits to be written, or it is closing."""
        while self._waiting and self.closing is None:
            await self._wait()

    async def drained(self) -> None:
        """Wait until all is written, or the client has gone."""
        while self._writer is not None and (self._waiting or self._write is None):
            await self._wait()

    async def _wait(self) -> None:
        if self._written is None:
            self._written = asyncio.Event()
        await self._written.wait()

    # Writing

    def begin(self, writer: Write) -> None:
        """From now on write with *writer*, which takes frames in order and keeps the list."""
        self._writer = self._write = writer
        self.flush()

    def flush(self) -> None:
        """
        Write what waits, as long as the client is ready for it. A piece at a time, so that no more is on its way to a
        slow one than it takes in a while.
        """
        while self._waiting and self._write is not None:
            if self._waiting_bytes <= PIECE_BYTES:
                frames, self._waiting, self._waiting_bytes = self._waiting, [], 0
                self._asked = self._asked_bytes = 0
            else:
                frames = self._take_piece()
            self._outbox.written += len(frames)
            self._write(frames)
        if not self._waiting:
            self._wake()
        while self._newest and self._write is not None:
            frames = _piece_of(self._newest.values())
            for name in list(self._newest)[: len(frames)]:
                self._forget_newest(name)
            self._outbox.written += len(frames)
            self._write(frames)

    def _take_piece(self) -> list[bytes]:
        frames = _piece_of(self._waiting)
        size_bytes = sum(map(len, frames))
        del self._waiting[: len(frames)]
        self._waiting_bytes -= size_bytes
        # As if what was asked for went first: the limits are the same or lower for what else waits, never higher.
        self._asked = max(self._asked - len(frames), 0)
        self._asked_bytes = max(self._asked_bytes - size_bytes, 0)
        return frames

    def pause(self) -> None:
        """The client is not ready for more: what is offered waits. If it stays so, the client is closed."""
        self._write = None
        if self._writer is not None:  # otherwise it has gone
            self._outbox.stuck.add(self)
        self._end_patience()
        self._stuck = asyncio.get_running_loop().call_later(self._patience, self._be_stuck)

    def resume(self) -> None:
        """The client is ready for more."""
        self._outbox.stuck.discard(self)
        self._end_patience()
        self._write = self._writer
        waited = len(self._waiting)
        self.flush()
        self._wake()
        if waited and logger.is_detailed:
            logger.debug("what waited is written", **self.facts, messages=waited - len(self._waiting))

    def gone(self) -> None:
        """The client has gone: nothing is written any more."""
        self._writer = self._write = None
        self._outbox.stuck.discard(self)
        self._end_patience()
        self._forget()

    def _be_stuck(self) -> None:
        self.close(CloseCode.SLOW_CONSUMER, "nothing is read")

    def _end_patience(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _forget(self) -> None:
        self._waiting, self._waiting_bytes = [], 0
        self._asked = self._asked_bytes = 0
        self.drop_newest()
        self._wake()

    def _wake(self) -> None:
        if self._written is not None:
            self._written.set()
            self._written = None
