"""
What traces cost: CPU of a process, `python -m bench.traces`.

*off*: nobody has called `trace()`. *not sampled*: the SDK has decided against a span. *sampled*: spans are made, and
exported to nowhere. Read the differences: the absolute figures are this machine's.
"""

import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from statistics import median

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from qrsocket import spans, traces
from qrsocket.embedded_redis import embedded_redis
from qrsocket.message import Options
from qrsocket.position import Missed, Position
from qrsocket.sender import BlockingSocket
from qrsocket.server.connection import Connection
from qrsocket.server.hub import Hub
from qrsocket.server.outbox import Outbox
from qrsocket.server.relay import Relay
from qrsocket.server.wire import VERSION1
from qrsocket.settings import Settings

SENDS, ENVELOPES, ROUNDS = 1_000, 2_000, 7
PARENT = Options(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").to_words()


class Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def off() -> None:
    spans.tracer = None


def not_sampled() -> None:
    traces.trace(TracerProvider(sampler=ALWAYS_OFF))


def sampled() -> None:
    traces.trace(EXPORTING)


EXPORTING = TracerProvider()
EXPORTING.add_span_processor(BatchSpanProcessor(Nowhere()))
WAYS = (off, not_sampled, sampled)


class Node:
    """A relay with connections of one user, whose clients take all."""

    def __init__(self, connections: int, settings: Settings) -> None:
        outbox, top = Outbox(), Position("e", 0)
        hub = Hub(lambda _: None, lambda _: None, lambda: None)
        for number in range(connections):
            connection = Connection(f"c{number}", None, VERSION1, "ada", settings, outbox)  # type: ignore[arg-type]
            connection.begin(lambda _: None)
            hub.add(connection)
            hub.begin(hub.subscribe(connection, "u:ada"), Missed(top, top, True))
        self._relay = Relay("node", hub, outbox, None, lambda _: None, lambda _: None, lambda: None)
        self._numbers = count(1)

    def deliver(self, way: Callable[[], None]) -> None:
        number, options = next(self._numbers), PARENT if way is sampled else ""
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
    cases: dict[str, tuple[Callable[[Callable[[], None]], object], int]] = {
        "a send": (lambda _way: socket.to("ada").send("hi"), SENDS),
        "a node: to 1 connection": (one.deliver, ENVELOPES),
        "a node: to 100 connections": (hundred.deliver, ENVELOPES // 10),
    }
    sys.stdout.write("µs of CPU                            off  not sampled  sampled\n")
    for name, (work, times) in cases.items():
        rows: list[list[float]] = []
        for _ in range(ROUNDS):
            row = []
            for way in WAYS:
                way()
                row.append(us_each(lambda work=work, way=way: work(way), times))  # type: ignore[misc]
            rows.append(row)
        figures = [median(column) for column in zip(*rows, strict=True)]
        sys.stdout.write(f"{name:30} {figures[0]:9.1f} {figures[1]:12.1f} {figures[2]:8.1f}\n")


if __name__ == "__main__":
    with embedded_redis() as server:
        main(Settings(redis_url=server.url))  # type: ignore[arg-type]
