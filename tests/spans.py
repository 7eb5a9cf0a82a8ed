"""What a collector was told in OpenTelemetry's protocol (OTLP), as trees."""

from collections import Counter
from collections.abc import Iterable
from secrets import token_hex
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.collector import Collector


def spans_of(collector: Collector) -> list[Any]:
    requests = [ExportTraceServiceRequest.FromString(body) for body in collector.bodies("/v1/traces")]
    scopes = [scope for request in requests for each in request.resource_spans for scope in each.scope_spans]
    return [span for scope in scopes for span in scope.spans]


def facts(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def paths(spans: Iterable[Any]) -> Counter[str]:
    """Return each span by its name after those of the spans that it is in, the outermost first."""
    by_id = {span.span_id: span for span in spans}

    def path(span: Any) -> str:
        parent = by_id.get(span.parent_span_id)
        return span.name if parent is None else f"{path(parent)} > {span.name}"

    return Counter(map(path, by_id.values()))


class Trace:
    """A trace that a test begins: `headers` go with its request."""

    def __init__(self, collector: Collector) -> None:
        self._collector, self._id = collector, token_hex(16)
        self.headers = {"traceparent": f"00-{self._id}-{token_hex(8)}-01", "tracestate": "test=1"}

    @property
    def spans(self) -> list[Any]:
        return [span for span in spans_of(self._collector) if span.trace_id.hex() == self._id]

    @property
    def paths(self) -> Counter[str]:
        return paths(self.spans)
