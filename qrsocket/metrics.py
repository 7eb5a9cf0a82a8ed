"""
What is counted for Prometheus, of which event. `qrsocket.prometheus` serves it.

No metric has a user, a topic or a message as a label: their number has no bound.
Source: https://prometheus.io/docs/practices/naming/
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeAlias

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from qrsocket.errors import CloseCode
from qrsocket.events import (
    Behind,
    CircuitChanged,
    Closed,
    Connected,
    Counted,
    Event,
    GapTold,
    Handled,
    Heartbeat,
    HookRan,
    JobChanged,
    LeaseRenewed,
    MessageRefused,
    Missed,
    NotSent,
    Recovered,
    RedisAsked,
    Refused,
    Relayed,
    Sent,
)
from qrsocket.streams import Stream, topic_of, user_of

# Seconds. A send takes 0.3 ms, and is given up after 2 s by default.
SENDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5)
HANDLERS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
JOBS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0)
# A client may close with any of a thousand others.
CODES = frozenset((*range(1000, 1016), *CloseCode))


Handlers: TypeAlias = dict[type[Event], Callable[[Any], None]]


class Metrics:
    """An observer that counts."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        make = _Maker(registry)
        self._by_type: Handlers = {
            **_of_messages(make),
            **_of_recovery(make),
            **_of_connections(make),
            **_of_handlers(make),
            **_of_redis(make),
            **_of_jobs(make),
        }

    def on_event(self, event: Event) -> None:
        if count := self._by_type.get(type(event)):
            count(event)


class _Maker:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.counter, self.histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        self.gauge = partial(Gauge, registry=registry)


def _of_messages(make: _Maker) -> Handlers:
    sent = make.counter("qrsocket_messages_sent", "Messages and orders sent by this process", ["kind", "outcome"])
    send_seconds = make.histogram("qrsocket_send_seconds", "Until Redis had a message", ["kind"], buckets=SENDS)
    # To look a child up takes prometheus-client twice as long as to count.
    sent_of, send_seconds_of = cache(sent.labels), cache(send_seconds.labels)
    envelopes = make.counter("qrsocket_envelopes", "Messages and orders that came to this node from Redis")
    relay_seconds = make.histogram(
        "qrsocket_relay_seconds", "From reading what came from Redis to having written it", buckets=SENDS
    )

    def on_sent(event: Sent) -> None:
        sent_of(event.kind, _outcome(event)).inc()
        send_seconds_of(event.kind).observe(event.seconds)

    def on_relayed(event: Relayed) -> None:
        envelopes.inc(event.envelopes)
        for seconds in event.seconds:
            relay_seconds.observe(seconds)

    return {Sent: on_sent, NotSent: lambda event: sent.labels(event.kind, "failed").inc(), Relayed: on_relayed}


def _of_recovery(make: _Maker) -> Handlers:
    missed = make.counter("qrsocket_missed", "Times that envelopes did not come, and were read again")
    behind = make.counter("qrsocket_behind", "Times that a connection fell behind its stream", ["stream"])
    recovered = make.counter("qrsocket_recovered", "Messages that clients had missed and were given", ["stream"])
    gaps = make.counter("qrsocket_gaps", "Clients told that messages are gone", ["stream"])
    return {
        Missed: lambda _event: missed.inc(),
        Behind: lambda event: behind.labels(_kind_of(event.stream)).inc(len(event.connections)),
        Recovered: lambda event: recovered.labels(_kind_of(event.stream)).inc(event.messages),
        GapTold: lambda event: gaps.labels(_kind_of(event.stream)).inc(),
    }


def _of_connections(make: _Maker) -> Handlers:
    connections = make.gauge("qrsocket_connections", "Open WebSockets", ["protocol"], multiprocess_mode="livesum")
    opened = make.counter("qrsocket_connections_opened", "WebSockets opened", ["protocol"])
    closed = make.counter("qrsocket_connections_closed", "WebSockets closed", ["code"])
    refused = make.counter("qrsocket_handshakes_refused", "Handshakes refused", ["status", "cause"])
    counted = {
        name: make.gauge(f"qrsocket_{name}", text, multiprocess_mode="livesum")
        for name, text in (
            ("users", "Users with a connection to this process"),
            ("topics", "Topics that a connection of this process has joined"),
            ("waiting_messages", "Messages that wait for clients which read slowly"),
            ("waiting_bytes", "Bytes that wait for clients which read slowly"),
            ("behind_connections", "Connections that read from histories what they have missed"),
        )
    }

    def on_connected(event: Connected) -> None:
        opened.labels(event.protocol).inc()
        connections.labels(event.protocol).inc()

    def on_closed(event: Closed) -> None:
        closed.labels(str(event.code) if event.code in CODES else "other").inc()
        connections.labels(event.protocol).dec()

    def on_counted(event: Counted) -> None:
        counted["users"].set(event.users)
        counted["topics"].set(event.topics)
        counted["waiting_messages"].set(event.waiting_messages)
        counted["waiting_bytes"].set(event.waiting_bytes)
        counted["behind_connections"].set(event.behind)

    return {
        Connected: on_connected,
        Closed: on_closed,
        Counted: on_counted,
        Refused: lambda event: refused.labels(str(event.status), event.cause).inc(),
    }


def _of_handlers(make: _Maker) -> Handlers:
    handler_seconds = make.histogram(
        "qrsocket_handler_seconds", "Time of message handlers", ["handler"], buckets=HANDLERS
    )
    refused = make.counter("qrsocket_messages_refused", "Messages of clients that were not handled", ["cause"])
    handlers_failed = make.counter("qrsocket_handlers_failed", "Handlers that raised", ["handler", "error"])
    hook_seconds = make.histogram("qrsocket_hook_seconds", "Time of hooks", ["kind"], buckets=HANDLERS)
    hooks_failed = make.counter("qrsocket_hooks_failed", "Hooks that raised", ["kind", "error"])

    handler_seconds_of = cache(handler_seconds.labels)

    def on_handled(event: Handled) -> None:
        handler_seconds_of(event.handler).observe(event.seconds)
        if event.error is not None:
            handlers_failed.labels(event.handler, event.error).inc()

    def on_hook(event: HookRan) -> None:
        hook_seconds.labels(event.kind).observe(event.seconds)
        if event.error is not None:
            hooks_failed.labels(event.kind, event.error).inc()

    return {
        Handled: on_handled,
        HookRan: on_hook,
        MessageRefused: lambda event: refused.labels(event.cause).inc(),
    }


def _of_redis(make: _Maker) -> Handlers:
    seconds = make.histogram("qrsocket_redis_seconds", "Round trips to Redis", ["call"], buckets=SENDS)
    failed = make.counter("qrsocket_redis_failed", "Round trips to Redis that failed", ["call", "error"])
    heartbeat = make.histogram(
        "qrsocket_heartbeat_seconds", "Until what Redis was asked to publish came to this node", buckets=SENDS
    )
    lease = "qrsocket_lease_renewed_timestamp_seconds"
    renewed = make.gauge(lease, "When this node last renewed its lease", multiprocess_mode="livemin")
    circuit = make.gauge(
        "qrsocket_circuit_open", "Whether sends fail at once, Redis having just failed", multiprocess_mode="livesum"
    )

    seconds_of = cache(seconds.labels)

    def on_asked(event: RedisAsked) -> None:
        seconds_of(event.call).observe(event.seconds)
        if event.error is not None:
            failed.labels(event.call, event.error).inc()

    return {
        RedisAsked: on_asked,
        Heartbeat: lambda event: heartbeat.observe(event.seconds),
        LeaseRenewed: lambda _event: renewed.set_to_current_time(),
        CircuitChanged: lambda event: circuit.set(event.is_open),
    }


def _of_jobs(make: _Maker) -> Handlers:
    jobs = make.counter("qrsocket_jobs", "States that jobs have entered", ["task", "state"])
    waited = make.histogram("qrsocket_job_wait_seconds", "Until a job began for the first time", ["task"], buckets=JOBS)
    ran = make.histogram("qrsocket_job_run_seconds", "Time of a job's last run", ["task", "state"], buckets=JOBS)

    def on_job(event: JobChanged) -> None:
        jobs.labels(event.task, event.state).inc()
        if event.seconds is None:
            return
        if event.state == "started":
            waited.labels(event.task).observe(event.seconds)
        else:
            ran.labels(event.task, event.state).observe(event.seconds)

    return {JobChanged: on_job}


def _kind_of(stream: Stream) -> str:
    if topic_of(stream):
        return "topic"
    return "user" if user_of(stream) else "connection"


def _outcome(event: Sent) -> str:
    if event.repeated:
        return "repeated"
    return "routed" if event.connections else "nobody"
