"""Which tasks are watched, known by the task and not by a function that others may replace; what is told of each."""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary, WeakSet

from celery import Celery, Task
from celery.local import Proxy

from qrsocket.celery.run import in_utf8
from qrsocket.context import current_settings
from qrsocket.errors import MessageTooLarge, NotSerializable
from qrsocket.internals.celery import applications, made_tasks, may_make_tasks
from qrsocket.jobs.table import Omitted, State
from qrsocket.logger import Logger
from qrsocket.message import encode
from qrsocket.settings import Settings, get_settings

Picked: TypeAlias = Literal[True] | str | Iterable[str] | Callable[[Any], Any]

logger = Logger(__name__)

MARK = "__qrsocket__"
MOST_IN_A_RESULT = 64 * 1024
# More than any task is retried: one that takes the place of another comes after all retries of that.
MOST_RETRIES = 1_000_000
# More than any function is wrapped in.
MOST_LOOKED_AT = 200
TAKES_ANYTHING = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


@dataclass(eq=False)
class Options:
    """
    How a task is told of: see `notify_user`.

    Attributes:
        if_told: Only if its user was told of it already.
        by_name: As workers have said; if none has, it is told of.
        is_warned: It was said that nobody knows its task.
    """

    title: str | Callable[..., str] | None = None
    result: Picked | None = None
    states: Collection[State] | None = None
    if_told: bool = False
    by_name: bool = False
    is_warned: bool = False

    @property
    def only(self) -> str | None:
        return None if self.states is None else f" {' '.join(self.states)} "


# Of a task that is not decorated, and was queued by a process that could not know that.
IF_TOLD = Options(if_told=True)
# Of a task that this process does not have.
BY_NAME = Options(by_name=True)

# Those that were installed, with the settings that they were given.
_apps: WeakKeyDictionary[Celery, Settings | None] = WeakKeyDictionary()
_of_tasks: WeakSet[Options] = WeakSet()


def remember(app: Celery, settings: Settings | None) -> None:
    """
    Take the tasks of *app* for known, those too that are declared and not yet made; and the *settings* it is given.

    Raises:
        ValueError: It was given others before.
    """
    before = given_to(app)
    if settings is not None and before not in (None, settings):
        raise ValueError(f"{app!r} has been installed with other settings")
    _apps[_unwrapped(app)] = settings or before


def given_to(app: Any) -> Settings | None:
    """Return the settings that *app* was given; None: it has the environment's."""
    return _apps.get(_unwrapped(app))


def settings_of(app: Any) -> Settings:
    return given_to(app) or get_settings()


def settings_by_name(name: str) -> Settings:
    """
    Return the settings by which the task called *name* is told of, where it is queued: those of its application. Where
    several have it, as Celery shares tasks, those of the code that runs.
    """
    given = list(dict.fromkeys(given_to(app) for app in tuple(_apps) if name in made_tasks(app)))
    return (given[0] if len(given) == 1 else None) or current_settings()


def _unwrapped(known: Any) -> Any:
    """Return the application or the task itself of a Proxy: `celery.current_app`, or a task that is not made yet."""
    return getattr(known, "_get_current_object", lambda: known)()


def options_by_name(name: str) -> Options | None:
    """Return how the task called *name* is to be told of; None if it is not decorated."""
    if name.startswith("celery."):
        return None  # its own
    # Those that are made already first: to make the others takes the time of who publishes.
    here = [tasks[name] for tasks in map(made_tasks, applications()) if name in tasks]
    here = here or [app.tasks[name] for app in tuple(_apps) if may_make_tasks(app) and name in app.tasks]
    return next(filter(None, map(options_of, here)), None) if here else BY_NAME


def options_of(task: Any) -> Options | None:
    """
    Return how *task* is to be told of; None if it is not decorated.

    It is remembered, since whatever the task has of its function may be replaced.
    """
    task = _unwrapped(task)
    while not issubclass(type(task), Task) and hasattr(task, "__wrapped__"):
        task = task.__wrapped__  # a tracer's wrapper of the task itself
    run = getattr(task.run, "__func__", task.run)
    looked_at, known = vars(task).get(MARK, (None, None))
    if run is not looked_at:
        known = _find(task) or known
        vars(task)[MARK] = run, known
    if known is not None:
        _of_tasks.add(known)
    return known  # type: ignore[no-any-return]


def is_of_a_task(options: Options, app: Celery) -> bool:
    """Return whether a task of *app* is known to be told of by *options*."""
    if options not in _of_tasks:
        for task in tuple(app.tasks.values()):
            options_of(task)
    return options in _of_tasks


def about(
    options: Options, request: Mapping[str, Any], args: Iterable[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is said of a job with each event. *request* has `id`, `task`, `retries`, `replaced_task_nesting`."""
    retries = request.get("retries") or 0
    return {
        "id": request["id"],
        "task": request["task"],
        "title": _title(options, request, args, kwargs),
        "only": options.only,
        "if_told": options.if_told or None,
        "by_name": options.by_name or None,
        "turn": (request.get("replaced_task_nesting") or 0) * MOST_RETRIES + retries,
        "attempt": retries + 1,
    }


def shown_result(options: Options, value: Any, **facts: object) -> dict[str, Any]:
    """
    Return what the user may see of a result: `result` in JSON, or why it is `omitted`; empty for nothing.

    Args:
        facts: Of the job, for the log.
    """
    if not options.result:
        return {}
    try:
        shown = _pick(options.result, value)
        # In a list, since a text alone would not be encoded as JSON.
        return {"result": encode([shown], limit_bytes=MOST_IN_A_RESULT).payload[1:-1].decode()}
    except MessageTooLarge:
        logger.warning("result not shown: larger than %d bytes", MOST_IN_A_RESULT, **facts)
        return {"omitted": Omitted.TOO_LARGE}
    except NotSerializable:
        # Without the error's text, which may hold a part of it.
        text = "result not shown: not JSON for browsers, but an unknown type, NaN, or an integer beyond 2^53"
        logger.warning(text, **facts)
    except Exception as error:  # its text may hold the result
        logger.warning("result not shown: `result` of notify_user failed", error=type(error).__name__, **facts)
    return {"omitted": Omitted.FAILED}


def _find(task: Any) -> Options | None:
    """Look for the decorated function in what *task* has of its function, and through what is wrapped around it."""
    things = [getattr(task, name, None) for name in ("_decorated_fun", "__wrapped__", "_orig_run", "run")]
    things.append(getattr(type(task), "run", None))
    seen: set[int] = set()
    while things and len(seen) < MOST_LOOKED_AT:
        thing = things.pop()
        # A task is not the wrapper of another: what is found in one is that one's.
        if thing is None or id(thing) in seen or isinstance(thing, Proxy | Task):
            continue
        seen.add(id(thing))
        found = getattr(thing, "__dict__", {}).get(MARK)
        if isinstance(found, Options):
            return found
        things += _inside(thing)
    return None


def _inside(thing: Any) -> Iterator[Any]:
    """Yield what *thing* may be a wrapper of."""
    # Not `getattr`: objects that answer to any name, as proxies of remote calls do, would make new ones for ever.
    for name in ("__wrapped__", "__func__"):
        if (found := inspect.getattr_static(thing, name, None)) is not None:
            yield getattr(thing, name, found)
    if isinstance(thing, partial):
        yield thing.func
    elif inspect.isfunction(thing):
        # Other functions that close over a decorated one may just call it.
        if thing.__code__.co_flags & TAKES_ANYTHING == TAKES_ANYTHING:
            yield from (cell.cell_contents for cell in thing.__closure__ or () if _is_callable(cell))
    elif not inspect.isclass(thing) and callable(thing):
        yield from (value for value in getattr(thing, "__dict__", {}).values() if callable(value))


def _is_callable(cell: Any) -> bool:
    try:
        return callable(cell.cell_contents)
    except ValueError:  # it is empty yet
        return False


def _title(options: Options, request: Mapping[str, Any], args: Iterable[Any], kwargs: Mapping[str, Any]) -> str | None:
    if options.title is None:
        return None
    if not callable(options.title):
        return in_utf8(options.title)
    try:
        return in_utf8(options.title(*args, **kwargs))
    except Exception as error:  # its text may hold an argument
        facts = {"job": request["id"], "task": request["task"], "error": type(error).__name__}
        logger.warning("job without a title: `title` of notify_user failed", **facts)
        return None


def _pick(picked: Picked, value: Any) -> Any:
    if picked is True:
        return value
    if callable(picked):
        return picked(value)
    if isinstance(picked, str):
        return _field(value, picked)
    return {name: _field(value, name) for name in picked}


def _field(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, Mapping) else getattr(value, name)
