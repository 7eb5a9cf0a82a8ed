"""Who the code that runs now works for: set where a request, a message or a job begins, reset where it ends."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Protocol

from qrsocket.errors import NoConnection, NoRecipient
from qrsocket.message import Message
from qrsocket.settings import Settings, get_settings
from qrsocket.streams import Stream, of_connection, of_user
from qrsocket.users import User, UserLike, user_id


class Here(Protocol):
    """
    The connection whose handler runs in this process.

    Attributes:
        loop: Where that is.
    """

    loop: asyncio.AbstractEventLoop

    async def bind(self, user: User) -> None:
        """Make *user* the user of the connection."""
        ...

    def reply(self, message: Message) -> Coroutine[Any, Any, None]:
        """Send to the connection alone; the first time that is the answer to the request that is being handled."""
        ...

    def join(self, topic: str) -> Coroutine[Any, Any, None]: ...

    def leave(self, topic: str) -> Coroutine[Any, Any, None]: ...


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
        connection: Id of the WebSocket connection whose message is being handled; of the one whose page has sent the
            HTTP request; or of the one that a job was queued from. A job without a user reaches it while it stays
            without one.
        claimed: Id of the connection that an HTTP request says to be of; the current one as soon as there is a user.
        here: The current connection, if its handler runs here.
        may_block: A Celery task runs here; it may block even where an event loop seems to run (eager mode, gevent).
        task_run: The Celery task that runs here.
        proof: The user as `authenticated` was told, with the times of the token.
        settings: Those that the router or the Celery application was given whose code runs; None: the environment's.
    """

    user: str | None = None
    connection: str | None = None
    claimed: str | None = None
    here: Here | None = None
    may_block: bool = False
    task_run: TaskRun | None = None
    proof: User | None = field(default=None, compare=False)
    settings: Settings | None = field(default=None, compare=False)


NOBODY = Context()
_current: ContextVar[Context] = ContextVar("qrsocket", default=NOBODY)


def current() -> Context:
    return _current.get()


def current_settings() -> Settings:
    return _current.get().settings or get_settings()


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


def current_connection() -> str:
    """
    Return the id of the current connection.

    Raises:
        NoConnection: There is none.
    """
    connection = current().connection
    if connection is None:
        raise NoConnection
    return connection


def current_stream() -> Stream:
    """
    Return whom `socket.send` means here: the user, or else the connection.

    Raises:
        NoRecipient: There is neither.
    """
    context = current()
    if context.user is not None:
        return of_user(context.user)
    if context.connection is not None:
        return of_connection(context.connection)
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
    times = (user.expires_at, user.issued_at) if isinstance(user, User) else ()
    known = User(user_id(user), *times)
    context = current()
    if context.here is not None:
        await context.here.bind(known)
    here = context.connection or context.claimed
    _current.set(replace(context, user=known.id, connection=here, proof=known))
    return known
