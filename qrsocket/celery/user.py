"""
The current user and connection, carried from whoever queues a task to the task, and from there to its children.

It travels in one header of the message: written when a task is published, read when it begins, forgotten when it ends.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from celery import Celery, signals

from qrsocket.celery.watched import BY_NAME, given_to, options_by_name
from qrsocket.context import Context, TaskRun, begin, current, current_stream, end
from qrsocket.errors import NoRecipient
from qrsocket.streams import Stream, of_connection, of_user

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
    _move_to_front(signals.task_prerun, _restore)
    signals.task_postrun.connect(_forget, weak=False, dispatch_uid="qrsocket.forget")
    for signal in (signals.task_success, signals.task_failure, signals.task_retry):
        signal.connect(_forget_last, weak=False, dispatch_uid="qrsocket.forget_last")


def carried_by(message: Mapping[str, Any]) -> Any:
    """
    Return our header of *message*: the attributes of a task's request, or what the worker's main process has of it.

    Celery makes each header an attribute of the request. `headers` has them besides, unless one of them is itself named
    "headers", as those of Sentry and of Datadog are.
    """
    return next((headers[HEADER] for headers in _levels(message) if HEADER in headers), None)


def owner_in(message: Mapping[str, Any]) -> Stream | None:
    """Return whom the header of *message* names: the user, or else the connection."""
    carried = carried_by(message)
    if not isinstance(carried, Mapping):
        return None
    user, connection = carried.get("user"), carried.get("connection")
    if user is not None:
        return of_user(user)
    return None if connection is None else of_connection(connection)


def owner_of(request: Any) -> Stream | None:
    """Return whom a task that runs here runs for."""
    try:
        return current_stream() if request.is_eager else owner_in(vars(request))
    except NoRecipient:
        return None


def redelivery_window(app: Celery) -> float:
    """Return the seconds in which the broker may give a task to a worker again."""
    options = app.conf.broker_transport_options or {}
    return float(options.get("visibility_timeout") or VISIBILITY_TIMEOUT) + REDELIVERY_SLACK


def _write(sender: str | None = None, headers: dict[str, Any] | None = None, body: Any = None, **_: Any) -> None:
    if headers is None:
        return
    carried = carried_by(headers) if _has_header(headers) else _carried(current())  # one that the caller wrote wins
    if carried is None:
        return
    if sender is not None and isinstance(carried, Mapping) and options_by_name(sender) is BY_NAME:
        carried = {**carried, "by_name": True}  # whoever gets it tells its end, decorated or not
    headers[HEADER] = carried
    if isinstance(headers.get("headers"), Mapping):  # all that the main process has to retry with for a lost child
        headers["headers"] = {**headers["headers"], HEADER: carried}
    if isinstance(body, tuple) and len(body) == 3 and isinstance(body[2], dict):
        _write_into_embedded(body[2], carried)


def _has_header(message: Mapping[str, Any]) -> bool:
    return any(HEADER in headers for headers in _levels(message))


def _levels(message: Any) -> Iterator[Mapping[str, Any]]:
    while isinstance(message, Mapping):
        yield message
        message = message.get("headers")


def _carried(context: Context) -> dict[str, str] | None:
    carried = {"user": context.user, "connection": context.connection}
    return {name: id for name, id in carried.items() if id is not None} or None


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
    given = options.get("headers") or {}
    options["headers"] = given if _has_header(given) else {HEADER: carried, **given}
    for inside, names in ((options, ("link", "link_error", "chord")), (kwargs, ("tasks", "header", "body"))):
        for name in names:
            if inside.get(name):
                inside[name] = _marked(inside[name], carried)
    return {**signature, "options": options, "kwargs": kwargs}


def _restore(task: Any = None, **_: Any) -> None:
    _forget_last()
    request = task.request
    carried = carried_by(vars(request))
    if request.is_eager and not _has_header(vars(request)):
        # Nothing was published: the task runs inside its caller, for whom its caller works.
        user, connection = current().user, current().connection
    elif isinstance(carried, Mapping):
        user, connection = carried.get("user"), carried.get("connection")
    else:
        user, connection = None, None  # set all the same, or the user of the task before would stay
    # A task may block: eager on its caller's event loop, and on gevent beside a loop that runs in another greenlet.
    given = given_to(task.app) or (current().settings if request.is_eager else None)
    context = Context(user, connection, may_block=True, task_run=_run_of(task), settings=given)
    request.qrsocket_token = begin(context)


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


def _forget_last(**_: Any) -> None:
    """Let all others that are told of the task's end know its user: some were connected since, by an import say."""
    receivers = signals.task_postrun.receivers
    if receivers and receivers[-1][1] is not _forget:
        _move_to_end(signals.task_postrun, _forget)


def _move_to_front(signal: Any, receiver: Callable[..., Any]) -> None:
    # Celery calls receivers in the order of this list, and has no other way to tell it one. Each is in it all the time.
    with signal.lock:
        entry = next(entry for entry in signal.receivers if entry[1] is receiver)
        signal.receivers.insert(0, entry)
        del signal.receivers[signal.receivers.index(entry, 1)]


def _move_to_end(signal: Any, receiver: Callable[..., Any]) -> None:
    with signal.lock:
        entry = next(entry for entry in signal.receivers if entry[1] is receiver)
        signal.receivers.append(entry)
        signal.receivers.remove(entry)  # the first of the two
