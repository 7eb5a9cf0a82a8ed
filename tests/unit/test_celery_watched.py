"""Where `@notify_user` and `@async_task` stand, and what Celery sees through them."""

import gc
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, Task, current_app, shared_task, signals
from celery.utils.functional import arity_greater

from qrsocket.celery import async_task, install, notify_user
from qrsocket.celery.watched import BY_NAME, Options, options_by_name, options_of, shown_result

app = Celery("watched", broker="memory://", set_as_current=False)


@app.task(shared=False)
@notify_user
def plain(path: str, *, times: int = 1) -> None: ...


@app.task(shared=False, bind=True)
@notify_user
def bound(self: Any, path: str) -> None: ...


@app.task(shared=False)
@async_task
async def awaited(path: str) -> None: ...


@app.task(shared=False, bind=True)
@notify_user(title="x")
async def bound_and_awaited(self: Any, path: str) -> None: ...


@pytest.mark.parametrize("task", [plain, bound, awaited, bound_and_awaited], ids=lambda task: task.name)
def test_arguments_are_checked_where_the_task_is_queued(task: Any) -> None:
    """
    A call that the function could not take is a TypeError at `.delay()`, as Celery has it for any task.
    """
    with pytest.raises(TypeError, match="path"):
        task.delay()
    with pytest.raises(TypeError, match="positional"):
        task.delay("a", "b")

    task.delay("a")
    task.delay(path="a")
    assert not arity_greater(task.__header__, 1), "an errback with one parameter is not called with three"


@pytest.mark.parametrize(
    "decorate", [notify_user, notify_user(title="x"), async_task], ids=["plain", "options", "async"]
)
@pytest.mark.parametrize("declare", [app.task(shared=False), shared_task, app.task(shared=False, bind=True)])
def test_above_the_task(decorate: Callable[..., Any], declare: Callable[..., Any]) -> None:
    """
    Above `@app.task` they are refused where that is written, and the task is not made for it.
    """

    def function(path: str) -> None: ...

    function.__name__ = f"task_{uuid4().hex}"
    with pytest.raises(TypeError, match=r"write @app\.task above, @\w+ below"):
        decorate(declare(function))


def test_above_a_task_that_is_made() -> None:
    """
    A task object and a class of tasks are refused, too.
    """
    for task in (app.tasks[plain.name], type(app.tasks[plain.name])):
        with pytest.raises(TypeError, match=r"write @app\.task above"):
            notify_user(task)


def test_the_decorator_alone_connects_what_it_needs() -> None:
    """
    In a process where nobody called `install`, a decorated task is told of all the same.
    """
    code = """
from celery import Celery, signals
from qrsocket.celery import notify_user
app = Celery("x")
@app.task
@notify_user
def f(): ...
names = "before_task_publish after_task_publish task_prerun task_success task_failure task_postrun task_revoked"
print(all(getattr(signals, name).receivers for name in names.split()))
"""
    assert "True\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_install_as_courses_do() -> None:
    """
    `current_app` may be installed, several applications and one twice; one that nobody holds any more goes.
    """
    current: Any = current_app
    assert current is install(current)
    receivers = len(signals.task_postrun.receivers)
    one = install(install(Celery("one", set_as_current=False)))

    @one.task(shared=False, name="of one")
    @notify_user
    def of_one() -> None: ...

    assert options_of(one.tasks["of one"]) is options_by_name("of one")
    assert receivers == len(signals.task_postrun.receivers)
    one.close()
    del one, of_one
    gc.collect()
    assert BY_NAME is options_by_name("of one")


def test_a_task_that_is_declared_and_not_yet_made() -> None:
    """
    A task is known by its name from its declaration, also where applications are not finalized by themselves.
    """
    lazy = install(Celery("lazy", set_as_current=False))
    by_hand = install(Celery("by hand", set_as_current=False, autofinalize=False))

    @lazy.task(shared=False, name="of lazy")
    @notify_user
    def of_lazy() -> None: ...

    @by_hand.task(shared=False, name="of by hand")
    @notify_user
    def of_by_hand() -> None: ...

    assert options_by_name("of lazy") not in (None, BY_NAME)
    assert options_by_name("of by hand") is BY_NAME
    by_hand.finalize()
    assert options_by_name("of by hand") not in (None, BY_NAME)


@pytest.mark.parametrize(
    ("result", "value", "shown"),
    [
        (None, 1, {}),
        (True, {"rows": 1}, {"result": '{"rows":1}'}),
        ("rows", {"rows": 1}, {"result": "1"}),
        (True, "x" * 64 * 1024, {"omitted": "too_large"}),
        (True, object(), {"omitted": "failed"}),
        (True, {"id": 2**53}, {"omitted": "failed"}),
        ("lines", {"rows": 1}, {"omitted": "failed"}),
        (len, 7, {"omitted": "failed"}),
    ],
)
def test_why_a_result_is_not_shown(result: Any, value: Any, shown: dict[str, str]) -> None:
    """
    A result that should be shown and cannot be is told as omitted, with the cause.
    """
    assert shown == shown_result(Options(result=result), value)


def test_a_task_stays_known() -> None:
    """
    Once known, a task is told of whatever is put in the place of its function, in its class even.
    """

    class OfClass(Task):  # type: ignore[type-arg]
        name = "of class"

        @notify_user
        def run(self) -> None: ...

    task = app.register_task(OfClass())
    known = options_of(task)
    OfClass.run = lambda self: None  # type: ignore[method-assign]

    assert known is not None
    assert known is options_of(task)


class AnswersAnything:
    """As a proxy of remote calls does: each name that it is asked for is a new object."""

    def __getattr__(self, name: str) -> "AnswersAnything":
        return AnswersAnything()

    def __call__(self) -> None: ...


def test_a_task_that_is_not_made_yet() -> None:
    """
    It is known by its function, too: Celery makes the tasks of an application when it is finalized.
    """
    lazy = Celery("lazy", set_as_current=False)

    @notify_user
    def inner() -> None: ...

    task = lazy.task(name="watched.lazy", shared=False)(inner)

    assert not lazy.finalized
    assert options_of(task) is not None


def test_a_wrapper_around_what_answers_anything() -> None:
    """
    The look for a decorated function ends, whatever a wrapper without functools.wraps holds.
    """
    remote = AnswersAnything()

    @notify_user
    def inner() -> None: ...

    def wrapper(*args: Any, **kwargs: Any) -> None:
        remote()
        inner(*args, **kwargs)

    assert options_of(app.task(name="watched.remote", shared=False)(wrapper)) is not None
