"""A task runs for the user who queued it, in whatever shape it was queued, and for nobody else."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, chain, current_app
from redis import Redis

from qrsocket.celery import install
from qrsocket.context import NOBODY, Context, current, running_for
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from qrsocket.sync import socket as blocking
from tests.clients import PATIENCE
from tests.processes import jobs, shapes
from tests.processes.notes import Page
from tests.processes.shapes import SHAPES
from tests.running import ROOT, Running, beat, worker

APP = "tests.processes.shapes"

# A job of nobody between those of two users: whoever is left over from the task before is found out.
QUEUED_FOR = {
    "alice": Context(user="alice"),
    "nobody": NOBODY,
    "bob": Context(user="bob"),
}


# What Celery does not do eagerly: it publishes the first all the same, and raises in the midst of the others.
NEVER_EAGER = {"send_task_by_name", "several_links", "chain_that_fails", "chord_that_fails"}


def test_every_shape_runs_for_whom_it_was_queued(pool: Running) -> None:
    """
    In every pool, each shape runs for whom it was queued, from outside and from inside a task.
    """
    page = Page()
    expected: dict[str, list[tuple[str, str]]] = {}
    for name, shape in SHAPES.items():
        for whom, context in QUEUED_FOR.items():
            noted = sorted((label, shape.runs_for or whom) for label in shape.labels)
            outside, inside = f"{name}/{whom}", f"{name} in a task/{whom}"
            expected |= {outside: noted, inside: noted}
            with running_for(context):
                shape.queue(page.run(outside))
                shapes.queue_here.delay(name, page.run(inside))

    received = page.read(sum(len(noted) for noted in expected.values()))

    wrong = {run: (noted, received.get(run)) for run, noted in expected.items() if noted != received.get(run)}
    assert {} == wrong, "shape/queued for: (expected, received)"
    assert expected.keys() == received.keys()


@pytest.fixture(autouse=True)
def _current_application() -> Iterator[None]:
    """Celery 5.4 asks the current application what a chord is queued by, and another test may have made one."""
    before = current_app._get_current_object()
    shapes.app.set_current()
    yield
    before.set_current()


# The first is queued, the second called by the process that sees the failure: the worker's main process, for nobody.
@pytest.mark.parametrize("pool", ["prefork"], indirect=True)
@pytest.mark.parametrize("failing", [shapes.be_killed, shapes.take_too_long], ids=["killed", "hard time limit"])
def test_errbacks_of_a_task_whose_process_died(pool: Running, failing: Any) -> None:
    """
    A task's errback runs for its user although the process that knew the user is gone, and so does what is linked to
    the errback. An errback with three parameters is called in the main process, which knows nobody.
    """
    page, expected = Page(), {}
    for whom, context in QUEUED_FOR.items():
        errback = shapes.after_failure.s(run=page.run(whom), label="errback")
        errback.link(chain(shapes.note.si(page.run(whom), "first"), shapes.note.si(page.run(whom), "second")))
        called = shapes.after_failure_here.s(run=page.run(whom), label="called")
        ours = [(label, whom) for label in ("errback", "failing", "first", "second")]
        expected[whom] = sorted([*ours, ("called", "nobody")])
        with running_for(context):
            failing.apply_async((page.run(whom),), link_error=[errback, called])

    received = page.read(sum(len(noted) for noted in expected.values()))

    # Celery calls the errbacks twice after a hard time limit.
    assert expected == {run: sorted(set(noted)) for run, noted in received.items()}


@pytest.mark.parametrize("pool", ["threads"], indirect=True)
def test_the_connection_of_who_has_no_user(pool: Running) -> None:
    """
    A task that a connection without a user queued runs for that connection, and so do its children.
    """
    page = Page()
    with running_for(Context(connection="c1")):
        shapes.queue_a_child.delay(page.run("anonymous"), 1)

    assert {"anonymous": [("0 to come", "c1"), ("1 to come", "c1")]} == page.read(2)


def test_a_worker_that_was_killed(broker: EmbeddedRedis) -> None:
    """
    A task that was queued while there was no worker, the last one killed, runs for its user in the next.
    """
    page = Page()
    queue = {"SHAPES_QUEUE": "killed"}
    with worker(queue, app=APP) as killed:
        with running_for(Context(user="alice")):
            shapes.note.apply_async((page.run("alice"), "before"), queue="killed")
        before = page.read(1)
        killed.kill()
    with running_for(Context(user="alice")):
        shapes.queue_a_child.apply_async((page.run("alice"), 1), queue="killed")
    with worker(queue, app=APP) as next_one:
        after = page.read(2)
        next_one.kill()

    assert {"alice": [("before", "alice")]} == before
    assert {"alice": [("0 to come", "alice"), ("1 to come", "alice")]} == after


# On prefork Celery 5.4 gives the two tasks to this worker again, and they take its other two processes.
@pytest.mark.parametrize("pool_name", [pytest.param("prefork", marks=pytest.mark.not_on_lowest), "threads", "gevent"])
def test_a_worker_outlives_its_broker(redis_server: EmbeddedRedis, pool_name: str) -> None:
    """
    A worker that runs a task to be acknowledged late goes on when its Redis broker is killed and comes back.
    """
    with embedded_redis() as first:
        environment = {"SHAPES_BROKER": first.url, "SHAPES_QUEUE": "outlived", "SHAPES_ACKS_LATE": "1"}
        publisher = Celery("publisher", broker=first.url, set_as_current=False)
        with worker(environment, app=APP, pool=pool_name, concurrency=4) as running:
            for run in ("one", "two"):
                publisher.send_task("tests.processes.fates.take_long", (run,), queue="outlived")
                with Redis.from_url(first.url, socket_timeout=None) as notebook:
                    assert notebook.blpop([f"begun:{run}"], timeout=PATIENCE)
            first.process.kill()
            running.wait_for("Cannot connect to")
            since = len(running.log)
            with embedded_redis(port=first.port):
                running.wait_for("Connected to", since=since)
                publisher.send_task("tests.processes.fates.succeed", ("after",), queue="outlived")
                running.wait_for(r"fates\.succeed\[.*\] succeeded in ", since=since)
            running.kill()


def test_a_worker_with_a_wrong_setting_ends() -> None:
    """
    It says which one, in one line, and does not go on without reporting its jobs.
    """
    words = [sys.executable, "-m", "celery", "-A", "tests.processes.shapes", "worker", "--pool", "solo"]
    env = {**os.environ, "QRSOCKET_LEASE": "sesame", "SHAPES_BROKER": "memory://"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert 1 == done.returncode, done.stdout + done.stderr
    assert "qrsocket: QRSOCKET_LEASE is wrong:" in done.stderr
    assert "sesame" not in done.stderr


def test_the_consumer_of_the_application() -> None:
    """
    An application that names a consumer of its own keeps it.
    """
    ours, theirs = (install(Celery(name, set_as_current=False)) for name in ("ours", "theirs"))
    theirs.conf.worker_consumer = "theirs:Consumer"

    assert "qrsocket.celery.consumer:Consumer" == ours.conf.worker_consumer
    assert "theirs:Consumer" == theirs.conf.worker_consumer


@pytest.mark.parametrize("pool", ["solo"], indirect=True)
def test_tasks_from_beat_run_for_nobody(pool: Running) -> None:
    """
    A scheduled task has no user, also right after a user's task in the same process.
    """
    page, ticks = Page(), Page("beat")
    with beat(app=APP):
        seen: list[tuple[str, str]] = []
        while len(seen) < 3:
            with running_for(Context(user="alice")):
                shapes.note.delay(page.run("alice"), "job")
            seen += ticks.read(1)["schedule"]

    assert {("tick", "nobody")} == set(seen)


@pytest.fixture
def eager(broker: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shapes.app.conf, "task_always_eager", True)


@pytest.mark.usefixtures("eager")
def test_every_shape_runs_for_its_caller_when_eager() -> None:
    """
    With `task_always_eager` each shape runs for whom its caller works, who is the same afterwards.
    """
    page, expected = Page(), {}
    for name, shape in SHAPES.items():
        if name in NEVER_EAGER:
            continue
        for whom, context in QUEUED_FOR.items():
            expected[f"{name}/{whom}"] = sorted((label, shape.runs_for or whom) for label in shape.labels)
            with running_for(context):
                shape.queue(page.run(name, whom))
                assert context == current()

    received = page.read(sum(len(noted) for noted in expected.values()))

    wrong = {run: (noted, received.get(run)) for run, noted in expected.items() if noted != received.get(run)}
    assert {} == wrong, "shape/queued for: (expected, received)"


@pytest.mark.usefixtures("eager")
async def test_an_eager_task_may_block_the_event_loop_of_its_caller(redis_server: EmbeddedRedis) -> None:
    """
    Called from async code, an eager task sends with the blocking socket; its caller itself may not.
    """
    with running_for(Context(user="alice")):
        message_ids = jobs.send.delay("me", 2).get()
        with pytest.raises(RuntimeError, match="would block the event loop"):
            blocking.send("hello")

    assert 2 == len(set(message_ids))
