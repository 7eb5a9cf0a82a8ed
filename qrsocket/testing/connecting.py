"""How a test gets a client."""

from collections.abc import Mapping
from typing import Any

from qrsocket.testing.client import Client
from qrsocket.testing.middleware import Application
from qrsocket.testing.opening import Target, path_of
from qrsocket.users import UserLike, user_id


def client(
    app: Application | str,
    *,
    user: UserLike | None = None,
    path: str | None = None,
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    query: Mapping[str, Any] | None = None,
    auth: Any = None,
    timeout: float = 5.0,
) -> Client:
    """
    Connect to *app* until the block ends: `async with client(app, user="alice") as alice: ...`

    The application is served in this event loop, lifespan included, by one uvicorn for all of its clients that are open
    at the same time.

    Args:
        app: An ASGI application; or the address of one that runs elsewhere, `"http://127.0.0.1:8000"`.
        user: Who this client is, whatever the application would say: `on_connect` and `authenticate` are not asked.
            Without it they are, and get what follows.
        path: Of the socket; by default that of the application's first SocketRouter, or `/socket`.
        headers: Of the handshake and of `http`. `Origin` is the application's own host if they do not say another.
        auth: What `authenticate` gets.
        timeout: Seconds that each wait may take, unless it says its own.

    Raises:
        Refused: On entering, if the handshake was refused.
        AssertionError: On entering, if there was no connection, or no `ready` on it, within *timeout* seconds.
        RuntimeError: On entering, if the application did not start; on leaving, if it did not stop.
        InvalidUserId: *user* cannot name a user.
    """
    if user is not None and isinstance(app, str):
        raise ValueError("only an application that is served here can be told who its client is: pass the application")
    target = Target("", path or path_of(app), dict(headers or {}), dict(cookies or {}), dict(query or {}))
    return Client(app, target, None if user is None else user_id(user), auth, timeout)
