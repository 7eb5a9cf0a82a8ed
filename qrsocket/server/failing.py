"""What becomes of an error of the application: who hears of it, and in which words."""

import asyncio
from collections.abc import Awaitable, Mapping
from types import FrameType, TracebackType
from typing import TypeAlias, TypeVar

from starlette.exceptions import HTTPException, WebSocketException

from qrsocket.errors import HandlerTimeout, InvalidJson, InvalidUserId, NotAuthenticated, SocketError, Unavailable
from qrsocket.logger import Logger

logger = Logger(__name__)
T = TypeVar("T")
ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

# What stands between a connection and the code of the application.
ON_THE_WAY = frozenset({"anyio", "asyncio", "concurrent", "fastapi", "qrsocket", "starlette", "threading"})
TRY_AGAIN = "Try again later"
FOR_CLIENTS = (SocketError, WebSocketException, InvalidJson, InvalidUserId, NotAuthenticated)


async def within(seconds: float, work: Awaitable[T]) -> T:
    """
    Wait for *work* of the application.

    Raises:
        HandlerTimeout: It did not finish in time.
    """
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            return await work
    except TimeoutError:
        if deadline.expired():
            raise HandlerTimeout(seconds) from None
        raise


def raise_if_ending(error: BaseException) -> None:
    """Raise *error* again if it ends this task or the process: not if only what it waited for was cancelled."""
    task = asyncio.current_task()
    try:
        if isinstance(error, KeyboardInterrupt | SystemExit) or (task is not None and task.cancelling()):
            raise error
    finally:
        del error  # which holds this frame by its traceback


def is_for_client(error: BaseException) -> bool:
    """Whether *error* is about what the client sent, and not a failure of ours."""
    if isinstance(error, HTTPException):
        return error.status_code < 500
    return isinstance(error, FOR_CLIENTS)


def error_text(error: BaseException, facts: Mapping[str, object], *, debug: bool) -> str:
    """
    Return what the client is told. What was not raised for it is logged with its traceback, and not told.

    Args:
        facts: Of the message, for the log: it has a `request_id`, by which the client's error is found there.
    """
    match error:
        case SocketError():
            return str(error.message)
        case HTTPException():  # FastAPI's is one of these
            return str(error.detail)
        case WebSocketException():
            return error.reason or "Refused"
        case InvalidJson() | InvalidUserId() | HandlerTimeout() | NotAuthenticated():
            return str(error)
        case Unavailable():
            # That Redis is away is said once by each part that needs it: see trouble.py.
            logger.debug("message not handled: Redis unavailable", **facts, cause=error.cause)
            return TRY_AGAIN
        case _:
            logger.error("handler failed", exc_info=from_the_application(error), **facts)
            text = f"Internal error ({facts['request_id']})"
            return f"{text}: {type(error).__name__}: {error}" if debug else text


def refused_by(error: BaseException) -> dict[str, object]:
    """Say for the log what has refused a client. Not in its own words, which may quote a token."""
    cause = error.__cause__ or error
    return {"error": type(cause).__name__, "where": _place_in_the_application(error)}


def from_the_application(error: BaseException) -> ExcInfo:
    """
    Return *error* for the log, with its traceback from where the application's code begins; all of it if that has not
    begun. Frames before it hold what the client has sent, and Sentry, for one, sends the variables of each frame.
    """
    trace = error.__traceback__
    while trace is not None and _package_of(trace.tb_frame) in ON_THE_WAY:
        trace = trace.tb_next
    return type(error), error, trace or error.__traceback__


def _place_in_the_application(error: BaseException) -> str | None:
    """Return where the application has raised *error*: `main.on_connect:27`; None if it is ours."""
    place, trace = None, error.__traceback__
    while trace is not None:
        if _package_of(trace.tb_frame) not in ON_THE_WAY:
            place = f"{trace.tb_frame.f_globals.get('__name__')}.{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
