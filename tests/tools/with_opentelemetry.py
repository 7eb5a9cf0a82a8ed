"""
The shop with OpenTelemetry, as its documentation says: in a worker, tracing begins in each of its child processes.

`OTEL_EXPORTER_OTLP_ENDPOINT` says where spans go.
"""

from typing import Any

from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.tools.shop import app, jobs

__all__ = ["jobs", "make_app"]


@worker_process_init.connect(weak=False)
def begin(**_: Any) -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()
    RedisInstrumentor().instrument()


def make_app() -> Any:
    """Return the application, traced. For `uvicorn --factory`: in a worker's main process nothing is traced."""
    begin()
    FastAPIInstrumentor.instrument_app(app)
    return app
