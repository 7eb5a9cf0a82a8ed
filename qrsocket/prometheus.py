"""
Numbers for Prometheus.

    router.add_metrics("/metrics", dependencies=[Depends(only_prometheus)])

serves them below the socket's path, those of the whole process. Workers, and whoever serves them elsewhere, call
`collect()` once and use prometheus-client as usual. Several processes on one machine share `PROMETHEUS_MULTIPROC_DIR`.

No metric has a user, a topic or a message as a label: their number has no bound.
Source: https://prometheus.io/docs/practices/naming/
"""

import os
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from qrsocket.errors import CloseCode
from qrsocket.events import (
    Closed,
    Connected,
    Event,
    GapTold,
    Handled,
    HookRan,
    Missed,
    NotSent,
    Refused,
    Sent,
    observe,
)
from qrsocket.streams import Stream, topic_of, user_of

__all__ = ["Metrics", "collect", "exposed"]

# Seconds. A send takes 0.3 ms, and is given up after 2 s by default.
SENDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5)
HANDLERS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# A client may close with any of a thousand others.
CODES = frozenset((*range(1000, 1016), *CloseCode))


class Metrics:
    """An observer that counts."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        counter, histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        self._sent = counter("qrsocket_messages_sent", "Messages and orders sent by this process", ["kind", "outcome"])
        self._send_seconds = histogram("qrsocket_send_seconds", "Until Redis had a message", ["kind"], buckets=SENDS)
        self._connections = Gauge(
            "qrsocket_connections", "Open WebSockets", ["protocol"], registry=registry, multiprocess_mode="livesum"
        )
        self._opened = counter("qrsocket_connections_opened", "WebSockets opened", ["protocol"])
        self._closed = counter("qrsocket_connections_closed", "WebSockets closed", ["code"])
        self._refused = counter("qrsocket_handshakes_refused", "Handshakes refused", ["status", "cause"])
        self._handler_seconds = histogram(
            "qrsocket_handler_seconds", "Time of message handlers", ["handler"], buckets=HANDLERS
        )
        self._handlers_failed = counter("qrsocket_handlers_failed", "Handlers that raised", ["handler", "error"])
        self._hook_seconds = histogram("qrsocket_hook_seconds", "Time of hooks", ["kind"], buckets=HANDLERS)
        self._hooks_failed = counter("qrsocket_hooks_failed", "Hooks that raised", ["kind", "error"])
        self._missed = counter("qrsocket_missed", "Times that envelopes did not come, and were read again")
        self._gaps = counter("qrsocket_gaps", "Clients told that messages are gone", ["stream"])
        self._by_type: dict[type[Event], Callable[[Any], None]] = {
            Sent: self._on_sent,
            NotSent: lambda event: self._sent.labels(event.kind, "failed").inc(),
            Connected: self._on_connected,
            Closed: self._on_closed,
            Refused: lambda event: self._refused.labels(str(event.status), event.cause).inc(),
            Handled: self._on_handled,
            HookRan: self._on_hook,
            Missed: lambda _event: self._missed.inc(),
            GapTold: lambda event: self._gaps.labels(_kind_of(event.stream)).inc(),
        }

    def on_event(self, event: Event) -> None:
        if count := self._by_type.get(type(event)):
            count(event)

    def _on_sent(self, event: Sent) -> None:
        self._sent.labels(event.kind, _outcome(event)).inc()
        self._send_seconds.labels(event.kind).observe(event.seconds)

    def _on_connected(self, event: Connected) -> None:
        self._opened.labels(event.protocol).inc()
        self._connections.labels(event.protocol).inc()

    def _on_closed(self, event: Closed) -> None:
        self._closed.labels(str(event.code) if event.code in CODES else "other").inc()
        self._connections.labels(event.protocol).dec()

    def _on_handled(self, event: Handled) -> None:
        self._handler_seconds.labels(event.handler).observe(event.seconds)
        if event.error is not None:
            self._handlers_failed.labels(event.handler, event.error).inc()

    def _on_hook(self, event: HookRan) -> None:
        self._hook_seconds.labels(event.kind).observe(event.seconds)
        if event.error is not None:
            self._hooks_failed.labels(event.kind, event.error).inc()


def _kind_of(stream: Stream) -> str:
    if topic_of(stream):
        return "topic"
    return "user" if user_of(stream) else "connection"


def _outcome(event: Sent) -> str:
    if event.repeated:
        return "repeated"
    return "routed" if event.connections else "nobody"


@lru_cache(maxsize=1)
def collect() -> Metrics:
    """Count from now on, in the registry of the process. To call it twice changes nothing."""
    metrics = Metrics()
    observe(metrics)
    return metrics


def exposed() -> tuple[bytes, str]:
    """Return all numbers of the process, or of those that share `PROMETHEUS_MULTIPROC_DIR`, and their content type."""
    registry: CollectorRegistry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
