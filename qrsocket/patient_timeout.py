"""A timeout for what another process says, in an event loop that may be too busy to hear it."""

import asyncio
from types import TracebackType

# Long enough for the loop to look at its sockets once, and too short to matter.
ONCE_MORE = 0.02


class PatientTimeout:
    """
    `async with PatientTimeout(seconds):` raises TimeoutError as `asyncio.timeout` does, once the loop has looked
    whether the answer is there.

    When thousands of clients come at once, one turn of the loop takes seconds. What was answered long ago waits in its
    socket meanwhile, and `asyncio.timeout` would end the wait for it before anyone has looked.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "PatientTimeout":
        await self._timeout.__aenter__()
        self.restart(self._seconds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def restart(self, seconds: float) -> None:
        """Count *seconds* from now."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look_once_more)

    def _look_once_more(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(ONCE_MORE, lambda: self._timeout.reschedule(loop.time()))
