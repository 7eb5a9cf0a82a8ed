"""
Where spans begin and end, for whoever makes them: `qrsocket.traces`. Without a tracer none is made.

A trace goes on in another process by two words of text, the headers of W3C's Trace Context.
Source: https://www.w3.org/TR/trace-context/
"""

from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from qrsocket.streams import Stream


class TraceContext(NamedTuple):
    """The span that another is a child of, or linked to, as it travels; empty if there is none."""

    traceparent: str = ""
    tracestate: str = ""


NO_TRACE = TraceContext()


class Span(Protocol):
    """What is done from its beginning to its end. What is done in its block belongs to it."""

    @property
    def context(self) -> TraceContext:
        """By which what others do belongs to it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def note(self, **facts: int) -> None: ...

    def end(self, error: str | None = None) -> None:
        """End one that was not entered. *error*: the class of what went wrong."""
        ...

    def leave(self, error: str | None = None) -> None:
        """End one that was entered, where the end is another call than the beginning."""
        ...


class Tracer(Protocol):
    def sending(self, message_id: str, kind: str, streams: Sequence[Stream]) -> Span:
        """Begin the send of a message. If it is not sampled, its context is empty: nodes have nothing to add."""
        ...

    def delivered(
        self, sent: TraceContext, message_id: str, streams: Sequence[Stream], *, connections: int, began_ns: int
    ) -> None:
        """A node has written a message that was *sent* in a trace. *began_ns*: when it came, in ns of Unix time."""
        ...

    def recovered(self, sent: Sequence[TraceContext], stream: Stream, *, messages: int) -> None:
        """A client was given *messages* that were sent before, those in traces by their contexts."""
        ...

    def handling(self, handler: str, request_id: str) -> Span:
        """Begin to handle a message of a client."""
        ...

    def queueing(self, task: str, task_id: str, queue: str | None) -> Span: ...

    def running(self, task: str, task_id: str, queued: TraceContext | None, retries: int) -> Span:
        """Begin to run a task. *queued*: None if it runs inside its caller."""
        ...


tracer: Tracer | None = None
