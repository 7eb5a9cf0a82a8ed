"""The connections of a node for which something waits: all are written to together, once in a turn of the loop."""

import asyncio
from typing import TYPE_CHECKING

from qrsocket.errors import CloseCode
from qrsocket.logger import Logger

if TYPE_CHECKING:
    from qrsocket.server.outgoing import Outgoing  # which adds itself here

logger = Logger(__name__)


class Outbox:
    """
    The connections of a node for which something waits.

    Attributes:
        written: How many frames were written since the node began.
        stuck: Connections whose clients are not ready for more.
    """

    def __init__(self) -> None:
        self.written = 0
        self.stuck: set[Outgoing] = set()
        self._waiting: list[Outgoing] = []
        self._is_held = False

    def add(self, connection: "Outgoing") -> None:
        """Have what waits for *connection* written in this turn of the loop."""
        if not self._waiting and not self._is_held:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(connection)

    @property
    def waiting_bytes(self) -> int:
        """How much waits for clients that do not read as fast as they are sent to."""
        return sum(connection.waiting_bytes for connection in self.stuck)

    @property
    def waiting_messages(self) -> int:
        return sum(connection.waiting_messages for connection in self.stuck)

    def hold(self) -> None:
        """Write nothing before `flush` is called, by whoever has much to offer now."""
        self._is_held = True

    def flush(self) -> None:
        self._is_held = False
        connections, self._waiting = self._waiting, []
        for connection in connections:
            flush(connection)


def flush(connection: "Outgoing") -> None:
    """Write what waits for *connection*. One that cannot be written to does not harm the others."""
    try:
        connection.flush()
    except Exception:
        logger.exception("writing failed", **connection.facts)
        connection.gone()
        connection.close(CloseCode.INTERNAL_ERROR)
