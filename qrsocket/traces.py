"""
Spans for OpenTelemetry.

    trace()

in web processes and workers makes them, with the tracer provider of the process: of what is sent, written to clients,
handled, queued and run. docs/traces.md has them all.

No span has a payload, a user or the name of a topic. Names and attributes are those of OpenTelemetry's conventions.
Source: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from collections.abc import Sequence
from contextvars import Token
from types import TracebackType
from typing import Self, TypeAlias

from opentelemetry import trace as api
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, SpanKind, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from qrsocket import spans
from qrsocket.spans import NO_TRACE, TraceContext
from qrsocket.streams import EVERYONE, Stream, topic_of, user_of

__all__ = ["trace"]

Facts: TypeAlias = dict[str, str | int]

W3C = TraceContextTextMapPropagator()
NOBODY = Context()


def trace(provider: TracerProvider | None = None) -> None:
    """
    Make spans from now on. To call it twice changes nothing.

    Args:
        provider: None: that of the process, which may be set later.
    """
    spans.tracer = Traces(api.get_tracer("qrsocket", tracer_provider=provider))


class Span:
    """See `qrsocket.spans.Span`."""

    __slots__ = ("_carries", "_span", "_token")

    def __init__(self, span: api.Span, *, carries: bool = True) -> None:
        self._span, self._carries = span, carries
        self._token: Token[Context] | None = None

    @property
    def context(self) -> TraceContext:
        return _carried(self._span) if self._carries else NO_TRACE

    def __enter__(self) -> Self:
        self._token = attach(api.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave(None if kind is None else kind.__name__)

    def note(self, **facts: int) -> None:
        self._span.set_attributes({f"qrsocket.{name}": value for name, value in facts.items()})

    def leave(self, error: str | None = None) -> None:
        if self._token is not None:
            detach(self._token)
        self.end(error)

    def end(self, error: str | None = None) -> None:
        if error is not None:
            # Not the exception itself: its text may hold what was sent.
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Traces:
    """See `qrsocket.spans.Tracer`."""

    def __init__(self, tracer: api.Tracer) -> None:
        self._tracer = tracer

    def sending(self, message_id: str, kind: str, streams: Sequence[Stream]) -> Span:
        name, facts = _about("send", "send", streams[0])
        facts |= {"messaging.message.id": message_id, "qrsocket.kind": kind, "qrsocket.recipients": len(streams)}
        span = self._tracer.start_span(name, kind=SpanKind.PRODUCER, attributes=facts)
        return Span(span, carries=span.get_span_context().trace_flags.sampled)

    def delivered(
        self, sent: TraceContext, message_id: str, streams: Sequence[Stream], *, connections: int, began_ns: int
    ) -> None:
        name, facts = _about("deliver", "process", streams[0])
        facts |= {"messaging.message.id": message_id, "qrsocket.connections": connections}
        self._tracer.start_span(name, _context(sent), SpanKind.CONSUMER, facts, start_time=began_ns).end()

    def recovered(self, sent: Sequence[TraceContext], stream: Stream, *, messages: int) -> None:
        name, facts = _about("recover", "process", stream)
        facts |= {"messaging.batch.message_count": messages}
        # A child of one would be none of the others, and may come long after its parent.
        links = [Link(api.get_current_span(_context(one)).get_span_context()) for one in sent]
        self._tracer.start_span(name, kind=SpanKind.CONSUMER, attributes=facts, links=links).end()

    def handling(self, handler: str, request_id: str) -> Span:
        facts = _facts("qrsocket", "handle", "process")
        facts |= {"messaging.message.id": request_id, "code.function.name": handler}
        # A trace of its own: that of the connection, which others may have begun, is open for hours.
        connection = api.get_current_span().get_span_context()
        links = [Link(connection)] if connection.is_valid else []
        return Span(self._tracer.start_span(f"handle {handler}", NOBODY, SpanKind.CONSUMER, facts, links))

    def queueing(self, task: str, task_id: str, queue: str | None) -> Span:
        facts = _facts("celery", "send", "send") | {"messaging.message.id": task_id, "celery.task_name": task}
        if queue is not None:
            facts["messaging.destination.name"] = queue
        return Span(self._tracer.start_span(f"send {task}", kind=SpanKind.PRODUCER, attributes=facts))

    def running(self, task: str, task_id: str, queued: TraceContext | None, retries: int) -> Span:
        facts = _facts("celery", "process", "process") | {"messaging.message.id": task_id, "celery.task_name": task}
        if retries:
            facts["celery.retries"] = retries
        context = None if queued is None else _context(queued)
        return Span(self._tracer.start_span(f"process {task}", context, SpanKind.CONSUMER, facts))


def _facts(system: str, operation: str, type: str) -> Facts:
    return {
        "messaging.system": system,
        "messaging.operation.name": operation,
        "messaging.operation.type": type,
    }


def _about(operation: str, type: str, stream: Stream) -> tuple[str, Facts]:
    """Return the name of a span, and what it says."""
    template = _template(stream)
    return f"{operation} {template}", {
        **_facts("qrsocket", operation, type),
        "messaging.destination.template": template,
    }


def _template(stream: Stream) -> str:
    """Return what kind of stream it is: its name would say who is spoken to."""
    if stream == EVERYONE:
        return "everyone"
    if topic_of(stream):
        return "topic"
    return "user" if user_of(stream) else "connection"


def _carried(span: api.Span) -> TraceContext:
    carrier: dict[str, str] = {}
    W3C.inject(carrier, api.set_span_in_context(span))
    return TraceContext(**carrier)


def _context(carried: TraceContext) -> Context:
    return W3C.extract(carried._asdict(), NOBODY)
