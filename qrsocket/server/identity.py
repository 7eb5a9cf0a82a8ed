"""Whose connection it is: told by the first message or by a handler, until when, and renewed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from qrsocket.errors import CloseCode, NotAuthenticated, SocketError, TokenExpired
from qrsocket.server.authenticate import user_in
from qrsocket.server.connection import Connection
from qrsocket.server.failing import error_text, is_for_client, raise_if_ending, refused_by
from qrsocket.server.parsing import ClientGone
from qrsocket.server.subscriptions import Subscriptions
from qrsocket.settings import Settings
from qrsocket.users import User

# So long before the time is over the client is asked to renew it, in seconds.
NOTICE = 30.0

Ask = Callable[[], Awaitable[Any]]


class Identity:
    """
    Attributes:
        expires_at: Until when it holds (Unix time); None for as long as the connection.
        refusal: What has refused who this was said to be, for the log.
    """

    def __init__(
        self, connection: Connection, subscriptions: Subscriptions, settings: Settings, tasks: asyncio.TaskGroup
    ) -> None:
        """
        Args:
            tasks: What is to go on when a handler has run out of time runs in it.
        """
        self.expires_at: float | None = None
        self.refusal: dict[str, object] = {}
        self._connection, self._subscriptions, self._settings = connection, subscriptions, settings
        self._tasks = tasks
        self._is_ready = False
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def user(self) -> User | None:
        return None if self._connection.user is None else User(self._connection.user)

    def begin(self, user: User | None) -> None:
        """Take what the handshake has said."""
        if user is not None:
            self._connection.user, self._connection.issued = user.id, user.issued
            self._hold_until(user.expires)

    def be_ready(self) -> None:
        """The client knows that it is ready: from now on it can be asked to renew."""
        self._is_ready = True
        if self.expires_at is not None and self.expires_at - time.time() <= NOTICE:
            self._tell_expiring(self.expires_at)

    def end(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()

    async def bind(self, user: User) -> None:
        """Make *user* the user of this connection, from now on. Called by `await authenticated(user)`, too."""
        connection = self._connection
        if connection.user not in (None, user.id):
            connection.close(CloseCode.NOT_AUTHENTICATED, "a second user on one connection")
            raise NotAuthenticated
        if user.issued < connection.revoked_at:
            return  # who it is, is known, and by a better proof
        connection.issued = max(connection.issued, user.issued)
        if user.expires is not None:
            self._hold_until(user.expires)
        if connection.user == user.id or connection.closing is not None:
            return  # if it is leaving, what it took now would be kept for ever
        connection.user = user.id
        if self._subscriptions.is_open:
            # On its own: the handler that asked for it may run out of time, and it must not be left half-way.
            adding = self._tasks.create_task(self._subscriptions.add_user(), name=f"user of {connection.id}")
            await asyncio.shield(adding)

    async def authenticate(self, ask: Ask, request_id: str) -> None:
        """Let the first message say who this is; None is an anonymous session. Who is refused is closed."""
        connection = self._connection
        try:
            user = user_in(await ask())
            if user is not None:
                await self.bind(user)
        except ClientGone:
            pass
        except BaseException as error:
            raise_if_ending(error)
            facts = {**connection.facts, "request_id": request_id}
            connection.tell_error(error_text(error, facts, debug=self._settings.debug), None)
            self.refusal = refused_by(error)
            # Only who was refused is told not to come back: a database that is down must not sign everybody out.
            if isinstance(error, TokenExpired):
                connection.close(CloseCode.TOKEN_EXPIRED, "the token has expired")
            elif is_for_client(error):
                connection.close(CloseCode.NOT_AUTHENTICATED, "not authenticated")
            else:
                connection.close(CloseCode.INTERNAL_ERROR, "try again later")

    async def renew(self, ask: Ask | None, request: str | None) -> None:
        """
        Have it hold for longer, by another proof of the same user.

        Raises:
            SocketError: It is none.
        """
        connection = self._connection
        if ask is None:
            raise SocketError("Nothing can be renewed here: come back with a new cookie or token")
        user = user_in(await ask())
        if user is None:
            raise SocketError("Not authenticated")
        if user.issued < connection.revoked_at:
            raise SocketError("Signed out: sign in again")
        await self.bind(user)
        if user.expires is None:
            self._hold_until(None)
        connection.tell("renewed", expires_at=self.expires_at, request=request)

    def _hold_until(self, expires_at: float | None) -> None:
        self.expires_at = expires_at
        self.end()
        if expires_at is not None:
            self._wait(expires_at - NOTICE, self._give_notice)

    def _give_notice(self) -> None:
        if self.expires_at is not None:
            if self._is_ready:
                self._tell_expiring(self.expires_at)
            self._wait(self.expires_at, self._expire)

    def _tell_expiring(self, expires_at: float) -> None:
        self._connection.tell("expiring", **{"in": max(0.0, round(expires_at - time.time(), 1))})

    def _expire(self) -> None:
        self._connection.close(CloseCode.TOKEN_EXPIRED, "the token has expired")

    def _wait(self, until: float, then: Callable[[], None]) -> None:
        # The clock of the loop stands still while a machine sleeps: it is asked again now and then.
        left = until - time.time()
        if left <= 0:
            then()
        else:
            self._expiry = asyncio.get_running_loop().call_later(min(left, NOTICE), self._wait, until, then)
