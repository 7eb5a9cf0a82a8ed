"""
The current user, carried from whoever queues a task to the task, and from there to its children; and which task it is.

It travels in one header of the message: written when a task is published, read when it begins, forgotten when it ends.
"""

from collections.abc import Mapping
from typing import Any

from celery import Celery, signals

from qrsocket.audience import Audience, of_connection, of_user
from qrsocket.context import Context, TaskRun, begin, current, current_audience, end
from qrsocket.errors import NoRecipient

HEADER = "qrsocket"

# Seconds after which a broker gives a task that is not done to another worker, unless told otherwise.
# Source: https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout
VISIBILITY_TIMEOUT = 3600.0
# It looks for them only once in a while, and the task takes its time.
REDELIVERY_SLACK = 300.0


def carry_user() -> None:
    """Connect the signals that carry the user: Celery's own, for all applications of the process."""
    signals.before_task_publish.connect(_write, weak=False, dispatch_uid="qrsocket.write")
    signals.task_prerun.connect(_restore, weak=False, dispatch_uid="qrsocket.restore")
    signals.task_postrun.connect(_forget, weak=False, dispatch_uid="qrsocket.forget")


def owner_in(headers: Mapping[str, Any]) -> Audience | None:
    """Return whom a message's headers name: the user, or else the connection."""
    carried = headers.get(HEADER)
    if not isinstance(carried, Mapping):
        return None
    user, connection = carried.get("user"), carried.get("connection")
    if user is not None:
        return of_user(user)
    return None if connection is None else of_connection(connection)


def owner_of(request: Any) -> Audience | None:
    """Return whom a task that runs here runs for."""
    try:
        return current_audience() if request.is_eager else owner_in(request.headers or {})
    except NoRecipient:
        return None


def redelivery_window(app: Celery) -> float:
    """Return the seconds in which the broker may give a task to a worker again."""
    options = app.conf.broker_transport_options or {}
    return float(options.get("visibility_timeout") or VISIBILITY_TIMEOUT) + REDELIVERY_SLACK


def _write(headers: dict[str, Any] | None = None, body: Any = None, **_: Any) -> None:
    if headers is None:
        return
    carried = headers[HEADER] if HEADER in headers else _carried(current())  # one that the caller wrote wins
    if carried is None:
        return
    headers[HEADER] = carried
    if isinstance(body, tuple) and len(body) == 3 and isinstance(body[2], dict):
        _write_into_embedded(body[2], carried)


def _carried(context: Context) -> dict[str, str] | None:
    if context.user is not None:
        return {"user": context.user}
    return None if context.connection is None else {"connection": context.connection}


def _write_into_embedded(embedded: dict[str, Any], carried: Any) -> None:
    """
    Mark what is queued when this task is over, since not every process that queues it knows the user: the worker's
    main process does not, when it calls an errback for a task that was killed.

    Source: https://docs.celeryq.dev/en/stable/internals/protocol.html (version 2, `embed`)
    """
    for name in ("callbacks", "errbacks", "chain"):
        if embedded.get(name):
            embedded[name] = [_marked(signature, carried) for signature in embedded[name]]
    if embedded.get("chord"):
        embedded["chord"] = _marked(embedded["chord"], carried)


def _marked(signature: Any, carried: Any) -> Any:
    """Return a copy of *signature* that carries the header, as do all inside it. The caller's stays as it is."""
    if isinstance(signature, list | tuple):
        return [_marked(one, carried) for one in signature]
    if not isinstance(signature, Mapping) or "task" not in signature:
        return signature
    options, kwargs = dict(signature.get("options") or {}), dict(signature.get("kwargs") or {})
    options["headers"] = {HEADER: carried, **(options.get("headers") or {})}
    for inside, names in ((options, ("link", "link_error", "chord")), (kwargs, ("tasks", "header", "body"))):
        for name in names:
            if inside.get(name):
                inside[name] = _marked(inside[name], carried)
    return {**signature, "options": options, "kwargs": kwargs}


def _restore(task: Any = None, **_: Any) -> None:
    request = task.request
    headers = request.headers or {}
    carried = headers.get(HEADER)
    if request.is_eager and HEADER not in headers:
        # Nothing was published: the task runs inside its caller, for whom its caller works.
        user, connection = current().user, current().connection
    elif isinstance(carried, Mapping):
        user, connection = carried.get("user"), carried.get("connection")
    else:
        user, connection = None, None  # set all the same, or the user of the task before would stay
    # A task may block: eager on its caller's event loop, and on gevent beside a loop that runs in another greenlet.
    request.qrsocket_token = begin(Context(user, connection, may_block=True, task_run=_run_of(task)))


def _run_of(task: Any) -> TaskRun:
    """Tell what its messages are known by, and how long they are to be: until *task* is not run again."""
    request = task.request
    # A task that was replaced, by itself even, gives its id to the other.
    task_id = f"{request.id}+{request.replaced_task_nesting}" if request.replaced_task_nesting else request.id
    return TaskRun(str(task_id), redelivery_window(task.app))


def _forget(task: Any = None, **_: Any) -> None:
    token = task.request.__dict__.pop("qrsocket_token", None)
    if token is not None:
        end(token)
