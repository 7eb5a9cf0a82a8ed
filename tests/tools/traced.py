"""
An application that is traced: its HTTP requests by FastAPI, the rest by us.

`OTEL_EXPORTER_OTLP_ENDPOINT` says where spans go, `TRACED_BROKER` names Celery's broker.
"""

import os
from typing import Annotated, Any, TypeAlias

from celery import Celery, chord
from fastapi import Body, FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from qrsocket import socket, traces
from qrsocket.celery import install, notify_user
from qrsocket.server import SocketRouter
from qrsocket.sync import socket as blocking

# In the body: FastAPI's spans have the query.
Text: TypeAlias = Annotated[str, Body()]
Sole: TypeAlias = Annotated[str, Body(embed=True)]
BROKER = os.environ.get("TRACED_BROKER")

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
traces.trace()

jobs = install(Celery("traced", broker=BROKER, backend=BROKER))
jobs.conf.update(task_default_queue="traced", broker_connection_retry_on_startup=True)


@jobs.task(name="tell")
def tell(user: str, message: str) -> None:
    blocking.to(user).send(message)


@jobs.task(name="tell_later")
@notify_user
async def tell_later(user: str, message: str) -> None:
    await socket.to(user).send(message)


@jobs.task(name="tell_in_child")
def tell_in_child(user: str, message: str) -> None:
    tell.delay(user, message)


@jobs.task(name="tell_at_second", bind=True)
def tell_at_second(self: Any, user: str, message: str) -> None:
    if not self.request.retries:
        raise self.retry(countdown=0)
    blocking.to(user).send(message)


@jobs.task(name="part")
def part(message: str) -> str:
    return message


@jobs.task(name="tell_parts")
def tell_parts(parts: list[str], user: str) -> None:
    blocking.to(user).send("".join(parts))


@jobs.task(name="fail")
def fail(user: str, message: str) -> None:
    raise ValueError(message)


router = SocketRouter("/socket")
router.on_connect(lambda user: user)


@router.on_message
async def on_message(data: Any) -> None:
    await socket.send(data)


app = FastAPI(telemetry={"operation_spans": False})
app.include_router(router)


@app.post("/send")
async def send(user: Text, message: Text) -> int:
    return (await socket.to(user).send(message)).connections


@app.post("/close")
async def close(user: Sole) -> int:
    return (await socket.to(user).close(4321)).connections


@app.post("/queue")
def queue(task: Text, user: Text, message: Text) -> None:
    jobs.tasks[task].delay(user, message)


@app.post("/chord")
def queue_chord(user: Text, message: Text) -> None:
    chord([part.s(word) for word in message], tell_parts.s(user)).delay()
