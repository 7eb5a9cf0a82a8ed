"""
What becomes of a task, as Celery's signals tell it, told to the state machine.

They are neither ordered nor once, and come from several processes: a task that was killed is told of by the worker's
main process, which knows no more than its message. The state machine sorts that out.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery import Celery, signals

from qrsocket.celery.notify import Options, about, options_of, shown_result
from qrsocket.celery.run import Run, in_utf8
from qrsocket.celery.stopping import allow_signals
from qrsocket.celery.user import carry_user, owner_in
from qrsocket.celery.watcher import end, say_the_rest, watcher
from qrsocket.errors import SocketError
from qrsocket.jobs.table import JobKey, State

_apps: WeakSet[Celery] = WeakSet()
# Of the worker's main process: after a hard time limit Celery says no more than the id.
_received: WeakValueDictionary[str, Any] = WeakValueDictionary()


def install(app: Celery) -> Celery:
    """
    Let tasks know the user who queued them: `socket.send(...)` in a task reaches that user.

    Call it once where the Celery application is made, which web processes and workers import. Works in every pool, in
    eager mode, and for chains, groups, chords, links, retries and tasks that tasks queue. Not for a thread that a task
    starts by itself (run it in `contextvars.copy_context()`); a task from beat has no user. Those decorated with
    `@notify_user` their user can watch.

    Args:
        app: The application. The signals that carry the user are Celery's own, for all applications of the process.

    Returns:
        *app*.
    """
    carry_user()
    _apps.add(app)
    for sent, receiver in (
        (signals.after_task_publish, _on_publish),
        (signals.task_received, _on_received),
        (signals.task_success, _on_success),
        (signals.task_failure, _on_failure),
        (signals.task_revoked, _on_revoked),
        (signals.worker_process_init, _on_child),
        (signals.worker_process_shutdown, _on_child_end),
    ):
        sent.connect(receiver, weak=False, dispatch_uid=f"qrsocket{receiver.__name__}")
    return app


def _on_publish(
    sender: str | None = None, headers: Any = None, body: Any = None, routing_key: str | None = None, **_: Any
) -> None:
    owner = owner_in(headers) if isinstance(headers, Mapping) and "id" in headers else None
    options = _options_by_name(sender) if owner is not None else None
    if owner is None or options is None or not isinstance(body, tuple):
        return
    args, kwargs, _embed = body
    said = about(options, headers, args, kwargs)
    delay, expires = _seconds_until(headers.get("eta")), _seconds_until(headers.get("expires"))
    said |= {"queue": routing_key, "delay_ms": round((delay or 0) * 1000)}
    said["expires_ms"] = None if expires is None else round(expires * 1000)
    watcher().outbox.say("queued", JobKey.of(owner, headers["id"]), said)


def _on_received(request: Any = None, **_: Any) -> None:
    _received[request.id] = request


def _on_success(sender: Any = None, result: Any = None, **_: Any) -> None:
    run, options = _run_of(sender), options_of(sender)
    if run is not None and options is not None:
        end(run, State.SUCCEEDED, result=shown_result(options, result))


def _on_failure(sender: Any = None, task_id: str = "", exception: Any = None, **_: Any) -> None:
    state, run = _state_after(exception), _run_of(sender)
    error = in_utf8(exception.message) if isinstance(exception, SocketError) else None
    if run is not None:
        end(run, state, error=error)
    elif task_id in _received:
        _end_of_message(sender, _received[task_id].request_dict, state, worker=_received[task_id].hostname)


def _on_revoked(
    sender: Any = None, request: Any = None, terminated: bool = False, expired: bool = False, **_: Any
) -> None:
    if request is not None:
        worker = request.hostname if terminated else None  # otherwise it had not begun
        reason = "expired" if expired else "revoked"
        _end_of_message(sender, vars(request), State.CANCELLED, worker=worker, reason=reason)


def _on_child(**_: Any) -> None:
    allow_signals()


def _on_child_end(**_: Any) -> None:
    say_the_rest()


def _end_of_message(task: Any, message: Mapping[str, Any], state: State, **fields: Any) -> None:
    options, owner = options_of(task), owner_in(message)
    if options is not None and owner is not None:
        said = about(options, {**message, "task": task.name}, message.get("args") or (), message.get("kwargs") or {})
        watcher().outbox.say("ended", JobKey.of(owner, str(message["id"])), {**said, **fields, "state": state})


def _run_of(task: Any) -> Run | None:
    run = task.request.__dict__.get("qrsocket_run")
    return run if isinstance(run, Run) else None


def _state_after(exception: Any) -> State:
    if isinstance(exception, SoftTimeLimitExceeded | TimeLimitExceeded):
        return State.TIMEOUT
    return State.LOST if isinstance(exception, WorkerLostError) else State.FAILED


def _options_by_name(name: str | None) -> Options | None:
    for app in tuple(_apps):
        if options := options_of(app.tasks.get(name or "")):
            return options
    return None


def _seconds_until(moment: str | datetime | None) -> float | None:
    if not moment:
        return None
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    at = at.replace(tzinfo=at.tzinfo or UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
