"""
What metrics and traces cost: CPU of a process, `python -m bench.observers`.

*off*: nobody observes. *metrics*: `qrsocket.prometheus` counts. *not sampled*: `trace()` was called, and the SDK has
decided against a span. *sampled*: spans are made, and exported to nowhere. The last two need `opentelemetry-sdk`. All
ways take turns in one process, the median counts: read the differences, the absolute figures are this machine's.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from statistics import median
from typing import Any

from qrsocket import events, spans
from qrsocket.embedded_redis import embedded_redis
from qrsocket.message import Options
from qrsocket.position import Missed, Position
from qrsocket.prometheus import Metrics
from qrsocket.sender import BlockingSocket
from qrsocket.server.connection import Connection
from qrsocket.server.hub import Hub
from qrsocket.server.outbox import Outbox
from qrsocket.server.relay import Relay
from qrsocket.server.wire import VERSION1
from qrsocket.settings import Settings

SENDS, READS, ROUNDS = 500, 2_000, 15
PARENT = Options(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").to_words()
METRICS = Metrics()


def off() -> None:
    events.stop_observing(METRICS)
    spans.tracer = None


def metrics() -> None:
    off()
    events.observe(METRICS)


WAYS: dict[str, Callable[[], None]] = {"off": off, "metrics": metrics}

with suppress(ImportError):
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    from qrsocket import traces

    class Nowhere(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    def not_sampled() -> None:
        off()
        traces.trace(TracerProvider(sampler=ALWAYS_OFF))

    def sampled() -> None:
        off()
        traces.trace(EXPORTING)

    EXPORTING = TracerProvider()
    EXPORTING.add_span_processor(BatchSpanProcessor(Nowhere()))
    WAYS |= {"not sampled": not_sampled, "sampled": sampled}


class Node:
    """A relay with connections of one user, whose clients take all. Each envelope is read by itself: it costs most."""

    def __init__(self, connections: int, settings: Settings) -> None:
        outbox, top = Outbox(), Position("e", 0)
        hub = Hub(lambda _: None, lambda _: None, lambda: None)
        unused: Any = None
        for number in range(connections):
            connection = Connection(f"c{number}", unused, VERSION1, "ada", settings, outbox)
            connection.begin(lambda _: None)
            hub.add(connection)
            hub.begin(hub.subscribe(connection, "u:ada"), Missed(top, top, True))
        self._relay = Relay("node", hub, outbox, None, lambda _: None, lambda _: None, lambda: None)
        self._numbers = count(1)

    def deliver(self, way: str) -> None:
        number, options = next(self._numbers), PARENT if way == "sampled" else ""
        envelope = f'j\t{number}\te\tm{number}\t{options}\tu:ada\t{number}\n{{"n":{number}}}'
        self._relay._on_read([(b"node", envelope.encode())])  # noqa: SLF001


def us_each(work: Callable[[], object], times: int) -> float:
    before = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - before) / times * 1e6


def main(settings: Settings) -> None:
    socket = BlockingSocket[str](settings)
    one, hundred = Node(1, settings), Node(100, settings)
    cases: dict[str, tuple[Callable[[str], object], int]] = {
        "a send": (lambda _way: socket.to("ada").send("hi"), SENDS),
        "a node: to 1 connection": (one.deliver, READS),
        "a node: to 100 connections": (hundred.deliver, READS // 10),
    }
    sys.stdout.write(f"{'µs of CPU':30}" + "".join(f"{name:>13}" for name in WAYS) + "\n")
    for name, (work, times) in cases.items():
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, begin in WAYS.items():
                begin()
                taken[way].append(us_each(lambda work=work, way=way: work(way), times))  # type: ignore[misc]
        sys.stdout.write(f"{name:30}" + "".join(f"{median(figures):13.1f}" for figures in taken.values()) + "\n")


if __name__ == "__main__":
    with embedded_redis() as server:
        main(Settings(redis_url=server.url))  # type: ignore[arg-type]
