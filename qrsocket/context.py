"""Who the code that runs now works for: set where a request, a message or a job begins, reset where it ends."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TypeAlias

from qrsocket import audience
from qrsocket.audience import Audience, User, UserLike
from qrsocket.errors import NoRecipient

Bind: TypeAlias = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class TaskRun:
    """
    One run of a Celery task. What it sends is numbered, so that another run of the task does not send it again.

    Attributes:
        task_id: Celery's id of the task, which all its runs share.
        remember: Seconds in which the task may be run again.
        numbers: 1, 2, … for what it sends.
    """

    task_id: str
    remember: float
    numbers: Iterator[int] = field(default_factory=lambda: count(1))


@dataclass(frozen=True, slots=True)
class Context:
    """
    The current user and connection.

    Attributes:
        user: Id of the authenticated user, if there is one.
        connection: Id of the WebSocket connection whose message is being handled. A job queued without a user keeps
            it, and reaches it while it stays without one.
        bind: Makes a user the user of the current connection; only in a handler of that connection.
        may_block: A Celery task runs here; it may block even where an event loop seems to run (eager mode, gevent).
        task_run: The Celery task that runs here.
    """

    user: str | None = None
    connection: str | None = None
    bind: Bind | None = None
    may_block: bool = False
    task_run: TaskRun | None = None


NOBODY = Context()
_current: ContextVar[Context] = ContextVar("qrsocket", default=NOBODY)


def current() -> Context:
    return _current.get()


@contextmanager
def running_for(context: Context) -> Iterator[None]:
    """Work for *context* until the block ends. Threads and tasks started inside inherit it as context variables do."""
    token = begin(context)
    try:
        yield
    finally:
        end(token)


def begin(context: Context) -> Token[Context]:
    """Work for *context* from here on, where a beginning and an end are two calls, such as Celery's signals."""
    return _current.set(context)


def end(token: Token[Context]) -> None:
    """Work again for whom it was before `begin`."""
    _current.reset(token)


def current_audience() -> Audience:
    """
    Return whom `socket.send` means here: the user, or else the connection.

    Raises:
        NoRecipient: There is neither.
    """
    context = current()
    if context.user is not None:
        return audience.of_user(context.user)
    if context.connection is not None:
        return audience.of_connection(context.connection)
    raise NoRecipient


async def authenticated(user: UserLike) -> User:
    """
    Make *user* the current user: of this HTTP request, or of this WebSocket connection.

    Call it where you have verified who it is: in an `async def` dependency or endpoint, in `on_connect`,
    `authenticate` or a message handler. From there on `socket.send` and `.delay()` know the user. A plain `def`
    dependency runs in a thread of its own and cannot set the user for its endpoint: make it `async def`.

    Raises:
        InvalidUserId: *user* cannot name a user.
        NotAuthenticated: The connection belongs to another user; it is closed with 4100.
    """
    id = audience.user_id(user)
    context = current()
    if context.bind is not None:
        await context.bind(id)
    _current.set(replace(context, user=id))
    return User(id)
