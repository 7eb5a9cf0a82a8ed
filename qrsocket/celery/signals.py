"""
What becomes of a task, as Celery's signals tell it, told to the state machine.

They are neither ordered nor once, and come from several processes: a task that was killed is told of by the worker's
main process, which knows no more than its message. The state machine sorts that out.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery import Celery, signals, states
from celery.exceptions import Retry

from qrsocket.celery.announcing import announce, keep_announcing, stop_announcing
from qrsocket.celery.run import Run, in_utf8
from qrsocket.celery.stopping import allow_signals
from qrsocket.celery.tracing import trace_tasks
from qrsocket.celery.user import carried_by, carry_user, owner_in, owner_of, redelivery_window
from qrsocket.celery.watched import (
    IF_TOLD,
    Options,
    about,
    options_by_name,
    options_of,
    remember,
    settings_by_name,
    settings_of,
    shown_result,
)
from qrsocket.celery.watcher import begin, deliver_the_rest, end, watcher_of
from qrsocket.context import current_settings
from qrsocket.errors import SocketError
from qrsocket.jobs.table import JobKey, State
from qrsocket.settings import InvalidSettings, Settings
from qrsocket.streams import user_of

# Of the worker's main process: after a hard time limit Celery says no more than the id.
_received: WeakValueDictionary[str, Any] = WeakValueDictionary()


def install(app: Celery, *, settings: Settings | None = None) -> Celery:
    """
    Let tasks know the user who queued them: `socket.send(...)` in a task reaches that user.

    Call it once where the Celery application is made, which web processes and workers import. Works in every pool, in
    eager mode, and for chains, groups, chords, links, retries and tasks that tasks queue. Not for a thread that a task
    starts by itself (run it in `contextvars.copy_context()`); a task from beat has no user. Users can watch their
    tasks that are decorated with `@notify_user`.

    Args:
        app: The application, or `celery.current_app`. The signals that carry the user are Celery's own, for all
            applications of the process.
        settings: Used instead of the environment's, for reports on the application's tasks and for messages that
            `socket` sends in them. A later call without *settings* keeps them.

    Raises:
        ValueError: *app* was given other settings before.

    Returns:
        *app*.
    """
    connect()
    app.add_defaults(lambda: {"worker_consumer": "qrsocket.celery.consumer:Consumer"})  # the application's own wins
    remember(app, settings)
    return app


def connect() -> None:
    """Connect what is told of tasks. Once is enough, and again does nothing."""
    carry_user()
    trace_tasks()
    for sent, receiver in (
        (signals.after_task_publish, _on_publish),
        (signals.task_received, _on_received),
        (signals.task_prerun, _on_begin),
        (signals.task_success, _on_success),
        (signals.task_failure, _on_failure),
        (signals.task_postrun, _on_end),
        (signals.task_revoked, _on_revoked),
        (signals.celeryd_after_setup, _on_worker_setup),
        (signals.worker_ready, _on_worker_ready),
        (signals.worker_shutdown, _on_worker_end),
        (signals.worker_process_init, _on_child),
        (signals.worker_process_shutdown, _on_child_end),
    ):
        sent.connect(receiver, weak=False, dispatch_uid=f"qrsocket{receiver.__name__}")


def _on_publish(
    sender: str | None = None, headers: Any = None, body: Any = None, routing_key: str | None = None, **_: Any
) -> None:
    owner = owner_in(headers) if isinstance(headers, Mapping) and "id" in headers else None
    if owner is None or sender is None or not isinstance(body, tuple):
        return
    options = options_by_name(sender) or _if_told(headers)
    if options is None:
        return
    args, kwargs, _embed = body
    said = about(options, headers, args, kwargs)
    delay, expires = _seconds_until(headers.get("eta")), _seconds_until(headers.get("expires"))
    said |= {"queue": routing_key, "delay_ms": round((delay or 0) * 1000)}
    said["expires_ms"] = None if expires is None else round(expires * 1000)
    watcher_of(settings_by_name(sender)).reports.report("queued", JobKey.of(owner, headers["id"]), said)


def _on_received(request: Any = None, **_: Any) -> None:
    _received[request.id] = request


def _on_begin(task: Any = None, **_: Any) -> None:
    request = task.request
    owner, options = owner_of(request), options_of(task) or _if_told(vars(request))
    if owner is None or options is None:
        return
    said = about(options, {**vars(request), "task": task.name}, request.args or (), request.kwargs or {})
    said |= {"is_late": bool(task.acks_late), "window_ms": round(redelivery_window(task.app) * 1000)}
    said["worker"] = request.hostname
    watcher = watcher_of(current_settings())  # those of the task: they have been restored
    run = Run(current_settings(), JobKey.of(owner, str(request.id)), said, watcher.wake, options)
    request.qrsocket_run = run
    try:
        begin(run)
    except SoftTimeLimitExceeded as error:  # Celery would swallow what comes out of here
        run.raised = error
    watcher.watch(run)


def _on_success(sender: Any = None, result: Any = None, **_: Any) -> None:
    run = _run_of(sender)
    if run is not None:
        facts = {"job": run.key.id, "task": run.about["task"], "user": user_of(run.key.owner)}
        end(run, State.SUCCEEDED, **shown_result(run.options, result, **facts))


def _on_failure(sender: Any = None, task_id: str = "", exception: Any = None, **_: Any) -> None:
    run = _run_of(sender)
    if run is not None:
        end(run, _state_after(exception), error=_error_of(exception))
    elif task_id in _received:
        request = _received[task_id]
        _end_of_message(sender, request.request_dict, _state_after(exception), worker=request.hostname)


def _on_end(task: Any = None, state: str | None = None, retval: Any = None, **_: Any) -> None:
    """Say how a run ended that neither succeeded nor failed."""
    run = _run_of(task)
    if run is None:
        return
    watcher_of(run.settings).unwatch(run)
    if run.is_over or state == states.RETRY:
        return  # another attempt was told of when it was queued
    if state == states.IGNORED:
        # The end, if nothing takes its place. `replace()` by another such task was told when that was queued.
        end(run, State.SUCCEEDED)
    elif state == states.REJECTED:
        end(run, State.REQUEUED if getattr(retval, "requeue", False) else State.FAILED)
    elif state is not None:
        end(run, State.FAILED)  # its result could not be stored, say
    elif run.raised is not None and not isinstance(run.raised, Retry):
        end(run, _state_after(run.raised), error=_error_of(run.raised))  # eager, and its caller gets the error


def _on_revoked(
    sender: Any = None, request: Any = None, terminated: bool = False, expired: bool = False, **_: Any
) -> None:
    if request is not None:
        worker = request.hostname if terminated else None  # otherwise it had not begun
        reason = "expired" if expired else "revoked"
        _end_of_message(sender, vars(request), State.CANCELLED, worker=worker, reason=reason)


def _on_worker_setup(instance: Any = None, **_: Any) -> None:
    try:
        announce(instance, is_consuming=False)  # before it takes the first task
    except InvalidSettings as error:
        raise SystemExit(f"qrsocket: {error}") from None  # Celery would log another error, and go on


def _on_worker_ready(sender: Any = None, **_: Any) -> None:
    keep_announcing(sender.controller)


def _on_worker_end(**_: Any) -> None:
    stop_announcing()


def _on_child(**_: Any) -> None:
    allow_signals()


def _on_child_end(**_: Any) -> None:
    deliver_the_rest()


def _end_of_message(task: Any, message: Mapping[str, Any], state: State, **fields: Any) -> None:
    options, owner = options_of(task) or _if_told(message), owner_in(message)
    if options is not None and owner is not None:
        said = about(options, {**message, "task": task.name}, message.get("args") or (), message.get("kwargs") or {})
        said |= {**fields, "state": state}
        watcher_of(settings_of(task.app)).reports.report("ended", JobKey.of(owner, str(message["id"])), said)


def _if_told(message: Mapping[str, Any]) -> Options | None:
    """Return how to tell of a task that is not decorated: not at all, but for one that was queued by its name alone."""
    carried = carried_by(message)
    return IF_TOLD if isinstance(carried, Mapping) and carried.get("by_name") else None


def _run_of(task: Any) -> Run | None:
    run = vars(task.request).get("qrsocket_run")
    return run if isinstance(run, Run) else None


def _error_of(exception: Any) -> str | None:
    return in_utf8(exception.message) if isinstance(exception, SocketError) else None


def _state_after(exception: Any) -> State:
    if isinstance(exception, SoftTimeLimitExceeded | TimeLimitExceeded):
        return State.TIMEOUT
    return State.LOST if isinstance(exception, WorkerLostError) else State.FAILED


def _seconds_until(moment: str | datetime | None) -> float | None:
    if not moment:
        return None
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    at = at.replace(tzinfo=at.tzinfo or UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
