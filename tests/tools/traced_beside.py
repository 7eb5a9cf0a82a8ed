"""The traced application with OpenTelemetry's own instrumentations beside: of FastAPI, Celery and Redis."""

from typing import Any

from celery.signals import worker_process_init
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor

from tests.tools.traced import app, jobs

__all__ = ["jobs", "make_app"]


@worker_process_init.connect(weak=False)
def begin(**_: Any) -> None:
    CeleryInstrumentor().instrument()
    RedisInstrumentor().instrument()


def make_app() -> Any:
    """Return the application. For `uvicorn --factory`: a worker's main process has no instrumentation."""
    begin()
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])
    return app
