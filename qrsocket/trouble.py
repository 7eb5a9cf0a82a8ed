"""What keeps this process from Redis: said once, however many parts of the process meet it, and however often."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from qrsocket.errors import Unavailable
from qrsocket.failures import explain
from qrsocket.logger import Logger

logger = Logger(__name__)


class Trouble:
    """A log of one line for each cause, and one when all of it is over."""

    def __init__(self, meanwhile: str) -> None:
        """
        Args:
            meanwhile: What becomes of the process, such as "sockets stay open".
        """
        self._meanwhile = meanwhile
        self._causes: dict[str, str] = {}
        self._logged: set[str] = set()

    @property
    def cause(self) -> str:
        """In words that may be shown to anybody; empty while all is well."""
        return next(iter(self._causes.values()), "")

    def of(self, part: str) -> str:
        return self._causes.get(part, "")

    @contextmanager
    def noted(self, part: str) -> Iterator[None]:
        """Note whether a *part* of the process reaches Redis in the block. If not, no error leaves the block."""
        try:
            yield
        except (Unavailable, RedisError) as error:
            self.met(part, error)
        else:
            self.over(part)

    def met(self, part: str, error: Exception) -> None:
        """Note that a *part* of the process has met *error*, and goes on trying."""
        cause, advice = explain(error)
        self._causes[part] = cause
        if cause not in self._logged:
            self._logged.add(cause)
            logger.error("Redis unavailable, %s: %s → %s", self._meanwhile, cause, advice, part=part)

    def over(self, part: str) -> None:
        """Note that *part* has succeeded."""
        if self._causes.pop(part, "") and not self._causes:
            self._logged.clear()
            logger.info("Redis available again")
