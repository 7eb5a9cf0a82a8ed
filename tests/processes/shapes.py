"""
A Celery application that queues tasks in every shape there is, and notes for whom each of them ran.

Tests publish with it, and workers load it with `jobs`: `celery -A tests.processes.shapes worker`. Its broker is named
by `SHAPES_BROKER`, its queue by `SHAPES_QUEUE`.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeAlias

from celery import Celery, chain, chord, group, signals
from redis import Redis

from qrsocket.celery import install
from qrsocket.celery.user import HEADER
from qrsocket.context import current

CAROL: dict[str, Any] = {HEADER: {"user": "carol"}}
NOBODY: dict[str, Any] = {HEADER: None}
# As Sentry and Datadog write them.
TRACED: dict[str, Any] = {"x-trace": "1", "headers": {"x-trace": "1"}}
NOTES_KEPT_SECONDS = 600

BROKER = os.environ.get("SHAPES_BROKER")

SIGNALS = ("task_prerun", "task_postrun", "task_success", "task_failure", "task_retry")
SIGNALLED = {f"{__name__}.{name}" for name in ("signal_success", "signal_retry", "signal_failure")}


def note_signals(when: str) -> None:
    """Note for whom receivers run that are connected now."""
    for name in SIGNALS:

        def receive(sender: Any = None, name: str = name, **_: Any) -> None:
            if sender.name in SIGNALLED:
                write(sender.request.args[0], f"{name} {sender.request.retries + 1} {when}")

        getattr(signals, name).connect(receive, weak=False, dispatch_uid=f"{name} {when}")


note_signals("before")

app = Celery("shapes", broker=BROKER, backend=BROKER)
app.conf.update(
    task_default_queue=os.environ.get("SHAPES_QUEUE", "shapes"),
    worker_hijack_root_logger=False,
    task_acks_late="SHAPES_ACKS_LATE" in os.environ,
    worker_send_task_events="SHAPES_EVENTS" in os.environ,
    include=["tests.processes.jobs", "tests.processes.fates", "tests.processes.wrapped"],
    broker_connection_retry_on_startup=True,
    beat_schedule={"tick": {"task": "tests.processes.shapes.note", "schedule": 0.1, "args": ["beat/schedule", "tick"]}},
)
install(app)
note_signals("after")

Queue: TypeAlias = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Shape:
    """
    One way to queue tasks.

    Attributes:
        queue: Queues them; they note their labels for the run it is given.
        labels: What will have been noted, in any order.
        runs_for: Whom they run for; None: for whom they were queued.
    """

    queue: Queue
    labels: tuple[str, ...]
    runs_for: str | None = None


SHAPES: dict[str, Shape] = {}


def shape(*labels: str, runs_for: str | None = None) -> Callable[[Queue], Queue]:
    def register(queue: Queue) -> Queue:
        SHAPES[queue.__name__] = Shape(queue, labels, runs_for)
        return queue

    return register


def whom() -> str:
    """Say for whom the running code works."""
    context = current()
    return context.user or context.connection or "nobody"


@cache
def notebook() -> Any:
    return Redis.from_url(app.conf.broker_url, decode_responses=True, socket_timeout=None)


def write(run: str, label: str) -> None:
    """Note for whom this ran: `<run>` is `<page>/...`, and a page is a list in Redis."""
    page = f"notes:{run.partition('/')[0]}"
    with notebook().pipeline() as pipeline:
        pipeline.rpush(page, json.dumps([run, label, whom()]))
        pipeline.expire(page, NOTES_KEPT_SECONDS)
        pipeline.execute()


@app.task
def note(run: str, label: str) -> str:
    write(run, label)
    return label


@app.task
def note_one(run_and_label: list[str]) -> None:
    write(*run_and_label)


@app.task
def fail(run: str, label: str = "failing") -> None:
    write(run, label)
    raise ValueError("as the test wants")


@app.task
def after_failure(task_id: str, *, run: str, label: str) -> None:
    """An errback with one argument to fill is queued as a task."""
    write(run, label)


@app.task
def after_failure_here(request: Any, error: BaseException, traceback: Any, run: str, label: str) -> None:
    """An errback with three arguments to fill is called where the failure is seen."""
    write(run, label)


@app.task(bind=True)
def try_twice(self: Any, run: str) -> None:
    write(run, f"attempt {self.request.retries + 1}")
    if self.request.retries == 0:
        raise self.retry(countdown=0)


@app.task(autoretry_for=(ValueError,), default_retry_delay=0, max_retries=1, bind=True)
def try_twice_by_itself(self: Any, run: str) -> None:
    write(run, f"attempt {self.request.retries + 1}")
    if self.request.retries == 0:
        raise ValueError("as the test wants")


@app.task(bind=True)
def replace_by_one(self: Any, run: str) -> object:
    write(run, "replaced")
    return self.replace(note.si(run, "replacement"))


@app.task(bind=True)
def replace_by_many(self: Any, run: str) -> object:
    write(run, "replaced")
    return self.replace(chain(note.si(run, "first"), group(note.si(run, "left"), note.si(run, "right"))))


@app.task
def queue_a_child(run: str, generations: int) -> None:
    write(run, f"{generations} to come")
    if generations:
        queue_a_child.delay(run, generations - 1)


@app.task
def signal_success(run: str) -> None:
    pass


@app.task(bind=True)
def signal_retry(self: Any, run: str) -> None:
    if self.request.retries == 0:
        raise self.retry(countdown=0)


@app.task
def signal_failure(run: str) -> None:
    raise ValueError("as the test wants")


@app.task
def start_thread(run: str, *, copying: bool) -> None:
    target, args = (copy_context().run, (write, run, "thread")) if copying else (write, (run, "thread"))
    thread = threading.Thread(target=target, args=args)
    thread.start()
    thread.join()


@app.task
def be_killed(run: str) -> None:
    write(run, "failing")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(time_limit=1)
def take_too_long(run: str) -> None:
    write(run, "failing")
    time.sleep(60)


@app.task
def queue_here(name: str, run: str) -> None:
    """Queue a shape from inside a task."""
    SHAPES[name].queue(run)


@shape("job")
def delay(run: str) -> object:
    return note.delay(run, "job")


@shape("job")
def apply_async(run: str) -> object:
    return note.apply_async((run, "job"), expires=3600, priority=3)


@shape("job")
def send_task_by_name(run: str) -> object:
    return app.send_task("tests.processes.shapes.note", (run, "job"))


@shape("job")
def signature_by_name(run: str) -> object:
    return app.signature("tests.processes.shapes.note", (run, "job")).delay()


@shape("job")
def countdown(run: str) -> object:
    return note.apply_async((run, "job"), countdown=0.3)


@shape("job")
def eta(run: str) -> object:
    return note.apply_async((run, "job"), eta=datetime.now(UTC) + timedelta(seconds=0.3))


@shape("2 to come", "1 to come", "0 to come")
def children(run: str) -> object:
    return queue_a_child.delay(run, 2)


@shape("first", "second", "third")
def chain_of_tasks(run: str) -> object:
    return chain(note.si(run, "first"), note.si(run, "second"), note.si(run, "third")).delay()


@shape("first", "left", "right", "last")
def chain_with_group(run: str) -> object:
    pair = group(note.si(run, "left"), note.si(run, "right"))
    return chain(note.si(run, "first"), pair, note.si(run, "last")).delay()


@shape("one", "two", "three")
def group_of_tasks(run: str) -> object:
    return group(note.si(run, label) for label in ("one", "two", "three")).delay()


@shape("one", "two", "body")
def chord_of_tasks(run: str) -> object:
    return chord([note.si(run, "one"), note.si(run, "two")], note.si(run, "body")).delay()


@shape("a1", "a2", "b1", "b2", "body", "after")
def chord_of_chains(run: str) -> object:
    header = [chain(note.si(run, f"{name}1"), note.si(run, f"{name}2")) for name in "ab"]
    return chord(header, chain(note.si(run, "body"), note.si(run, "after"))).delay()


@shape("one", "two", "inner", "outer")
def chord_in_chord(run: str) -> object:
    inner = chord([note.si(run, "one"), note.si(run, "two")], note.si(run, "inner"))
    return chord([inner], note.si(run, "outer")).delay()


@shape("one", "failing", "errback")
def chord_that_fails(run: str) -> object:
    body = note.si(run, "never").on_error(after_failure.s(run=run, label="errback"))
    return chord([note.si(run, "one"), fail.si(run)], body).delay()


@shape("job", "link")
def link(run: str) -> object:
    return note.apply_async((run, "job"), link=note.si(run, "link"))


@shape("job", "link", "link of link", "link of link of link")
def nested_links(run: str) -> object:
    inner = note.si(run, "link of link")
    inner.link(note.si(run, "link of link of link"))
    outer = note.si(run, "link")
    outer.link(inner)
    return note.apply_async((run, "job"), link=outer)


@shape("job", "link", "first", "second", "left", "right")
def several_links(run: str) -> object:
    steps = chain(note.si(run, "first"), note.si(run, "second"))
    pair = group(note.si(run, "left"), note.si(run, "right"))
    return note.apply_async((run, "job"), link=[note.si(run, "link"), steps, pair])


@shape("failing", "errback")
def link_error(run: str) -> object:
    return fail.apply_async((run,), link_error=after_failure.s(run=run, label="errback"))


@shape("failing", "errback")
def link_error_called_in_process(run: str) -> object:
    return fail.apply_async((run,), link_error=after_failure_here.s(run=run, label="errback"))


@shape("failing", "errback", "link of errback")
def link_of_link_error(run: str) -> object:
    errback = after_failure.s(run=run, label="errback")
    errback.link(note.si(run, "link of errback"))
    return fail.apply_async((run,), link_error=errback)


@shape("first", "failing", "errback")
def chain_that_fails(run: str) -> object:
    steps = chain(note.si(run, "first"), fail.si(run), note.si(run, "never"))
    return steps.apply_async(link_error=after_failure.s(run=run, label="errback"))


@shape("attempt 1", "attempt 2")
def retry(run: str) -> object:
    return try_twice.delay(run)


@shape("attempt 1", "attempt 2", "link")
def autoretry_with_link(run: str) -> object:
    return try_twice_by_itself.apply_async((run,), link=note.si(run, "link"))


@shape("replaced", "replacement", "link")
def replace(run: str) -> object:
    return replace_by_one.apply_async((run,), link=note.si(run, "link"))


@shape("before", "replaced", "first", "left", "right", "after")
def replace_in_chain(run: str) -> object:
    return chain(note.si(run, "before"), replace_by_many.si(run), note.si(run, "after")).delay()


@shape("one", "two")
def map_(run: str) -> object:
    return note_one.map([(run, "one"), (run, "two")]).delay()


@shape("one", "two")
def starmap(run: str) -> object:
    return note.starmap([(run, "one"), (run, "two")]).delay()


@shape("one", "two", "three")
def chunks(run: str) -> object:
    return note.chunks([(run, "one"), (run, "two"), (run, "three")], 2).apply_async()


@shape("job", "link", runs_for="carol")
def explicit_header(run: str) -> object:
    return note.apply_async((run, "job"), headers=CAROL, link=note.si(run, "link"))


@shape("job", runs_for="nobody")
def explicit_nobody(run: str) -> object:
    return note.apply_async((run, "job"), headers=NOBODY)


@shape("thread")
def thread_in_copied_context(run: str) -> object:
    return start_thread.delay(run, copying=True)


@shape("thread", runs_for="nobody")
def thread_by_itself(run: str) -> object:
    """A thread begins with no context. This is Python's rule, and we do not bend it."""
    return start_thread.delay(run, copying=False)


@shape("job", "link")
def traced(run: str) -> object:
    return note.apply_async((run, "job"), headers=TRACED, link=note.si(run, "link").set(headers=TRACED))


@shape("attempt 1", "attempt 2")
def traced_retry(run: str) -> object:
    return try_twice.apply_async((run,), headers=TRACED)


@shape("first", "one", "two", "body")
def traced_chain(run: str) -> object:
    header = [note.si(run, "one").set(headers=TRACED), note.si(run, "two").set(headers=TRACED)]
    body = note.si(run, "body").set(headers=TRACED)
    return chain(note.si(run, "first").set(headers=TRACED), chord(header, body)).delay()


@shape("job", runs_for="carol")
def traced_explicit_header(run: str) -> object:
    return note.apply_async((run, "job"), headers={"headers": CAROL})


def _signalled(*names: str) -> list[str]:
    return [f"{name} {when}" for name in names for when in ("before", "after")]


@shape(*_signalled("task_prerun 1", "task_success 1", "task_postrun 1"))
def receivers_of_success(run: str) -> object:
    return signal_success.delay(run)


@shape(*_signalled("task_prerun 1", "task_failure 1", "task_postrun 1"))
def receivers_of_failure(run: str) -> object:
    return signal_failure.delay(run)


@shape(
    *_signalled("task_prerun 1", "task_retry 1", "task_postrun 1"),
    *_signalled("task_prerun 2", "task_success 2", "task_postrun 2"),
)
def receivers_of_retry(run: str) -> object:
    return signal_retry.delay(run)
