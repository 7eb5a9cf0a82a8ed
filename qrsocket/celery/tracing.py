"""
One trace from whoever queues a task to the task, and from there to its children, where there is a tracer.

It travels in two headers of the message, `traceparent` and `tracestate`, as OpenTelemetry's own instrumentation of
Celery has it: one side may have that, and the other this. In a process that has theirs, this does nothing.
"""

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from celery import signals, states

from qrsocket import spans
from qrsocket.spans import Span, TraceContext

THEIRS = "opentelemetry.instrumentation.celery"

# Between two signals of one call: nothing else is published meanwhile.
_publishing: ContextVar[Span | None] = ContextVar("qrsocket publishing", default=None)


def trace_tasks() -> None:
    """Connect the signals, for all applications of the process."""
    for sent, receiver in (
        (signals.before_task_publish, _begin_publish),
        (signals.after_task_publish, _end_publish),
        (signals.task_prerun, _begin_run),
        (signals.task_postrun, _end_run),
    ):
        sent.connect(receiver, weak=False, dispatch_uid=f"qrsocket{receiver.__name__}")


def _begin_publish(
    sender: str | None = None, headers: dict[str, Any] | None = None, routing_key: str | None = None, **_: Any
) -> None:
    if spans.tracer is None or not sender or not headers or _is_theirs(signals.before_task_publish.receivers):
        return
    span = spans.tracer.queueing(sender, str(headers.get("id")), routing_key)
    _publishing.set(span)  # of one that failed to be published there is no end, and no span
    headers.update({name: value for name, value in span.context._asdict().items() if value})


def _end_publish(**_: Any) -> None:
    if (span := _publishing.get()) is not None:
        _publishing.set(None)
        span.end()


def _begin_run(task: Any = None, **_: Any) -> None:
    if spans.tracer is None or _is_theirs(signals.task_prerun.receivers):
        return
    request = task.request
    queued = None if request.is_eager else TraceContext(*(_header(request, name) for name in TraceContext._fields))
    request.qrsocket_span = spans.tracer.running(task.name, str(request.id), queued, request.retries or 0)
    request.qrsocket_span.__enter__()


def _end_run(task: Any = None, state: str | None = None, retval: Any = None, **_: Any) -> None:
    span = task.request.__dict__.pop("qrsocket_span", None)
    if span is not None:
        span.leave(type(retval).__name__ if state == states.FAILURE else None)


def _header(request: Any, name: str) -> str:
    """Return a header of the message: Celery makes each an attribute of the request."""
    value = getattr(request, name, None)
    return value if isinstance(value, str) else ""


def _is_theirs(receivers: Iterable[tuple[Any, Any]]) -> bool:
    return any(getattr(receiver, "__module__", None) == THEIRS for _key, receiver in receivers)
