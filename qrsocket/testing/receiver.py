"""What a test waits for, of one stream."""

from typing import Any, TypeVar, overload
from uuid import uuid4

from qrsocket.sender.destinations import Recipients
from qrsocket.streams import Stream
from qrsocket.testing.conversation import BARRIER, Inbox
from qrsocket.testing.expectation import ANYTHING, Mismatch, describe, match
from qrsocket.testing.link import Link

T = TypeVar("T")


class Receiver:
    """What comes while nobody waits is kept for `receives`."""

    def __init__(self, link: Link, inbox: Inbox) -> None:
        self._link, self._inbox = link, inbox

    @overload
    async def receives(self, expected: type[T], *, skip: bool = ..., timeout: float | None = ...) -> T: ...
    @overload
    async def receives(self, expected: Any = ..., *, skip: bool = ..., timeout: float | None = ...) -> Any: ...
    async def receives(self, expected: Any = ANYTHING, *, skip: bool = False, timeout: float | None = None) -> Any:
        """
        Return the next message, which must be what is expected.

        Args:
            expected: A type that it must validate as, and is returned as (a Pydantic model, a dataclass, a TypedDict,
                any annotation); a predicate that must accept it; or the value itself, as `socket.send` would take it.
                Anything, by default.
            skip: Go past messages that are something else. Otherwise the first of them is a failure.

        Raises:
            AssertionError: Something else came, or nothing in time, or the connection was closed.
        """

        def look() -> tuple[Any] | None:
            while self._inbox.messages:
                received = self._inbox.messages.popleft()
                try:
                    return (match(expected, received),)
                except Mismatch as why:
                    if not skip:
                        text = f"expected {describe(expected)}, but this came\n  {received}\n{why}"
                        raise self._link.failure(text.rstrip()) from None
                    self._link.conversation.transcript.note(f"skipped: {received}")
            return None

        return (await self._link.wait(look, describe(expected), timeout))[0]

    async def _check_nothing(self, stream: Stream | None, timeout: float | None) -> None:
        mark, inbox = uuid4().hex, self._inbox
        if self._link.closed is None and stream is not None:
            wait = self._link.timeout if timeout is None else timeout
            await Recipients[Any](self._link.settings, (stream,)).send({BARRIER: mark}, wait=wait)
        await self._link.wait(lambda: mark in inbox.barriers or None, "what was sent to come", timeout)
        if inbox.messages:
            left = "\n  ".join(map(str, inbox.messages))
            raise self._link.failure(f"expected no message, but {len(inbox.messages)} came\n  {left}")
