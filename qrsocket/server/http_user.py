"""Who asks by HTTP, beside the socket."""

from collections.abc import Awaitable
from typing import TypeVar

from fastapi import HTTPException, Request

from qrsocket import clients
from qrsocket.errors import InvalidToken, InvalidUserId, SocketError, Unavailable
from qrsocket.keys import Keyspace
from qrsocket.presence.revocation import revoked_at
from qrsocket.roundtrip import arun
from qrsocket.server.handshake import shake_hands
from qrsocket.server.parameters import Function
from qrsocket.settings import Settings
from qrsocket.streams import of_user
from qrsocket.users import User

T = TypeVar("T")


async def user_of_request(
    request: Request, on_connect: Function | None, settings: Settings, *, with_origin: bool
) -> str:
    """
    Return the id of the user that `on_connect`, or a dependency, says.

    Args:
        with_origin: The request changes something: another site's page must not make it with this user's cookies.

    Raises:
        HTTPException: 401 or 403 if nobody is known, or the user was revoked since; 503 without Redis.
    """
    try:
        user = await shake_hands(request, on_connect, settings, with_origin=with_origin)
    except InvalidToken as error:
        raise HTTPException(401, error.message, {"WWW-Authenticate": "Bearer"}) from None
    except (SocketError, InvalidUserId) as error:
        raise HTTPException(403, str(error)) from None
    if user is None:
        raise HTTPException(401, "Nobody is authenticated by on_connect or a dependency of the socket router")
    if user.issued < await or_try_later(_revoked_at(settings, user)):
        raise HTTPException(401, "Signed out", {"WWW-Authenticate": "Bearer"})
    return user.id


async def or_try_later(asking: Awaitable[T]) -> T:
    """
    Return what Redis answers.

    Raises:
        HTTPException: 503, if it does not.
    """
    try:
        return await asking
    except Unavailable:
        raise HTTPException(503, "Try again later", {"Retry-After": "2"}) from None


async def _revoked_at(settings: Settings, user: User) -> float:
    stream = of_user(user.id)
    call = revoked_at(Keyspace.of(settings).of_stream(stream), stream)
    return await arun(clients.awaiting(settings), call, timeout=settings.redis_timeout)
