"""How long a round trip is tried: the same for blocking and for awaiting."""

import random
import time

from qrsocket.errors import Unavailable
from qrsocket.failures import NO_PRIMARY, UNREACHABLE, cause_of, refusal
from qrsocket.internals.redis import LEAST_TIME

FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.25


class Patience:
    """
    How long to try, and whether a failed attempt is followed by another; the same for blocking and for awaiting.

    Attributes:
        timeout: Seconds for all attempts, from when this was made.
    """

    __slots__ = ("_attempt", "_deadline", "_failure", "_longest_pause", "timeout")

    def __init__(self, timeout: float, *, attempt: float | None = None) -> None:
        """
        Args:
            attempt: Seconds after which one attempt is given up for another. With it, it is also tried again when Redis
                answers that it takes no messages.
        """
        self.timeout, self._attempt = timeout, attempt
        self._deadline = time.monotonic() + timeout
        self._longest_pause = FIRST_PAUSE
        self._failure: Exception | None = None

    def left(self) -> float:
        """
        Return the seconds that the next attempt may take.

        Raises:
            Unavailable: There are none.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:  # after calls that were slow, or a pause that took longer than it should
            cause = cause_of(self._failure) if self._failure else "no time is left"
            raise Unavailable(str(cause), self.timeout) from self._failure
        return left if self._attempt is None else min(left, self._attempt)

    def pause_after(self, error: Exception) -> float:
        """
        Return how long to wait before another attempt.

        Raises:
            Unavailable: There is to be none.
            Exception: *error* itself, if it is not Redis that is in trouble.

        Source: "full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        cause = cause_of(error)
        if cause is None:
            raise error
        self._failure = error
        pause = random.uniform(0, self._longest_pause)  # noqa: S311 - spreads the load, keeps no secret
        self._longest_pause = min(2 * self._longest_pause, LONGEST_PAUSE)
        left = self._deadline - time.monotonic()
        may_pass = isinstance(error, (*UNREACHABLE, *NO_PRIMARY)) or self._attempt is not None
        if not may_pass or refusal(error) or left < LEAST_TIME:
            raise Unavailable(cause, self.timeout) from error
        return min(pause, left / 2)  # never too long for another attempt: it is tried until the end
