"""What one client has sent: how much of it is taken, and what waits for its turn. No sockets, no handlers, no clock."""

from enum import Enum, auto

from qrsocket.server.limits import TokenBucket
from qrsocket.server.wire import Inbound
from qrsocket.settings import Settings

# What costs as much as a message: so many bytes of one, or of what answers it, or so many seconds of CPU time.
BYTES_PER_MESSAGE = 16 * 1024
SECONDS_PER_MESSAGE = 0.001


class Verdict(Enum):
    """What becomes of a frame."""

    TAKEN = auto()
    TOO_LARGE = auto()
    TOO_FAST = auto()
    ABUSE = auto()


class Lane:
    """Messages that are handled in the order in which they came, so many at once."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self.waiting: list[Inbound] = []  # short, and an empty deque takes ten times the memory

    def enter(self, message: Inbound) -> bool:
        """Return whether *message* is to be handled at once. Otherwise it waits, and a `leave` returns it."""
        if self._free:
            self._free -= 1
            return True
        self.waiting.append(message)
        return False

    def leave(self) -> Inbound | None:
        """Note that one was handled, and return the next, if one waits."""
        if self.waiting:
            return self.waiting.pop(0)
        self._free += 1
        return None


class Inbox:
    """
    Attributes:
        messages: What waits for handlers.
        asks: What waits for us, one at a time.
        is_closed: Its client has gone.
    """

    def __init__(self, settings: Settings, now: float) -> None:
        self.messages = Lane(settings.max_handlers_in_flight)
        self.asks = Lane(1)
        self.is_closed = False
        self._settings = settings
        self._rate = TokenBucket(settings.rate, settings.rate_burst, now)
        self._costs = TokenBucket(settings.rate, settings.rate_burst, now)
        self._refusals = TokenBucket(settings.rate, settings.rate_burst, now)

    def judge(self, size_bytes: int, now: float) -> Verdict:
        """Decide whether a frame is taken, and count it."""
        if size_bytes > self._settings.max_message_in_bytes:
            return Verdict.TOO_LARGE
        if self._rate.take(now):
            self._costs.refill(now)
            self.charge_bytes(size_bytes)
            return Verdict.TAKEN
        return Verdict.TOO_FAST if self._refusals.take(now) else Verdict.ABUSE

    @property
    def is_crowded(self) -> bool:
        """Whether so many messages wait that another one is refused."""
        return len(self.messages.waiting) + len(self.asks.waiting) >= self._settings.rate_burst

    @property
    def is_full(self) -> bool:
        """Whether so many bytes wait that nothing more is read until there are fewer."""
        waiting = (*self.messages.waiting, *self.asks.waiting)
        return sum(_size_of(one.payload) for one in waiting) >= self._settings.max_waiting_bytes

    def charge_bytes(self, size_bytes: int) -> None:
        """Have the bytes of a message, or of its answer, paid before the next one is handled."""
        self._costs.charge(size_bytes / BYTES_PER_MESSAGE)

    def charge_seconds(self, seconds: float) -> None:
        """Have the CPU time of a message paid before the next one is handled."""
        self._costs.charge(seconds / SECONDS_PER_MESSAGE)

    def owed(self, now: float) -> float:
        """Return in how many seconds what was charged is paid, and the next message may be handled."""
        return self._costs.owed(now)

    def close(self) -> None:
        """Forget what waits: its client has gone."""
        self.is_closed = True
        self.messages.waiting.clear()
        self.asks.waiting.clear()


def _size_of(payload: str | bytes) -> int:
    """Return what *payload* takes in memory, at most: Python gives each letter of a text as much as its widest."""
    return len(payload) if isinstance(payload, bytes) or payload.isascii() else 4 * len(payload)
