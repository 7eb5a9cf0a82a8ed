"""The verbs, for code that awaits."""

from collections.abc import Coroutine, Iterable
from typing import Any, Generic

from typing_extensions import TypeVar

from qrsocket.awaited import Awaited
from qrsocket.context import current, current_stream
from qrsocket.errors import CloseCode
from qrsocket.message import Delivery
from qrsocket.sender import sending
from qrsocket.sender.ask import ask
from qrsocket.sender.destinations import Everyone, Others, Recipients, Topic, done, require_event_loop, sent
from qrsocket.sender.sending import REVOKED_SECONDS, Configured, How
from qrsocket.settings import Settings
from qrsocket.topics import topic_name
from qrsocket.users import UserLike

M = TypeVar("M", contravariant=True, default=Any)


class Socket(Configured, Generic[M]):
    """
    Sends to users, on all their devices, from async code. `Socket[MyMessage]()` lets a type checker check the message.

    Every verb raises `Unavailable` when Redis does not answer within `redis_timeout`: it may or may not be done. For a
    second after that, verbs raise it at once, "not tried", so that nobody waits in vain: nothing is done.

    `Socket(settings)` sends by settings of its own. Without, those of the router or Celery application count whose code
    runs, and elsewhere the environment's.
    """

    def to(self, users: UserLike | Iterable[UserLike]) -> Recipients[M]:
        """
        Name whom to send to: one user or many (str, int, UUID, or an object with `.id`), 1 to 10 000.

        Each of them costs Redis about 20 µs, in which it serves nobody else: a room is a `topic`, whose cost does not
        grow with who has joined.

        Raises:
            InvalidUserId: One of them cannot name a user.
            NoRecipient: There are none.
            TooManyRecipients: There are more than 10 000.
        """
        return Recipients(self._given, sending.streams_of(users))

    def topic(self, name: str) -> Topic[M]:
        """
        Name whom to send to: all that have joined a topic, on any node.

        Raises:
            InvalidTopic: *name* is not 1 to 200 visible ASCII characters that begin with a letter or a digit.
        """
        return Topic(self._given, topic_name(name))

    @property
    def everyone(self) -> Everyone[M]:
        """Every open connection. Costs one frame a node, and is not kept for who is away unless asked."""
        return Everyone(self._given)

    @property
    def others(self) -> Others[M]:
        """The current user's connections but the current one. Where that is not known, all of them."""
        return Others(self._given, None)

    def send(
        self,
        message: M,
        *,
        keep: bool = True,
        latest: str | None = None,
        message_id: str | None = None,
        wait: float | None = None,
    ) -> Coroutine[Any, Any, Delivery]:
        """
        Send *message* to the current user on all devices; with no user, to the current connection.

        Args:
            message: `str` goes as a text frame, bytes as a binary frame, anything else as a JSON document.
            keep: False: only for who is connected now, and reads fast enough. It is not there to come back to.
            latest: As `keep=False`; and of what waits for a slow client under this name only the newest counts. 1 to
                100 characters.
            message_id: A name for the message, so that it can be sent again when nobody knows what became of it. What
                is sent to the same recipients under the same id within 300 s is delivered once, and returns the same,
                `repeated`. Without it each message is a new one, but for a Celery task that is run again: see
                docs/celery.md.
            wait: Seconds to try for, instead of `redis_timeout`, whatever goes wrong and went wrong a moment ago.

        Raises:
            NoRecipient: There is neither a current user nor a current connection.
            NotSerializable: *message* cannot be written as JSON.
            MessageTooLarge: The encoded message is over `max_message_out_bytes`.
            ValueError: *message_id* is not text of 1 to 200 bytes without control characters, *latest* is no name, or
                *wait* is no time.
        """
        require_event_loop("send")
        return sent(
            "send",
            sending.message_for(self._settings, [current_stream()], message, How(message_id, wait, keep, latest)),
        )

    def reply(self, message: M) -> Coroutine[Any, Any, None]:
        """
        Send *message* to the current connection alone; it is not kept. In the handler of a page's `socket.request(...)`
        that is the answer, which may also be returned.

        Raises:
            NoConnection: There is no current connection.
            RuntimeError: The request was answered before.
        """
        require_event_loop("reply")
        described = sending.reply_to(self._settings, message)
        here = current().here
        return Awaited("reply", done(described) if here is None else here.reply(described.message))

    def join(self, topic: str) -> Coroutine[Any, Any, None]:
        """
        Have the current connection join *topic*, for as long as it is open. `on_join` is not asked.

        In a handler, in `on_connect` and in `authenticate` it has joined then; elsewhere it does so within moments.

        Raises:
            InvalidTopic, NoConnection: There is no such topic, or no current connection.
        """
        require_event_loop("join")
        order, here = sending.join_order(topic), current().here
        if here is not None:
            return Awaited("join", here.join(topic))
        return Awaited("join", done(sending.order_here(self._settings, order)))

    def leave(self, topic: str) -> Coroutine[Any, Any, None]:
        """Have the current connection leave *topic*. See `join`."""
        require_event_loop("leave")
        order, here = sending.leave_order(topic), current().here
        if here is not None:
            return Awaited("leave", here.leave(topic))
        return Awaited("leave", done(sending.order_here(self._settings, order)))

    def close(self, code: int = CloseCode.REVOKED, reason: str = "") -> Coroutine[Any, Any, Delivery]:
        """
        Close the current connection; where there is none, all connections of the current user.

        Args:
            code: 1000, or 3000 to 4999. With 4101, the usual one, our client stays away; docs/protocol.md has all.
            reason: At most 123 bytes. The client sees it.
        """
        require_event_loop("close")
        return sent("close", sending.close_here(self._settings, code, reason))

    def is_online(self, user: UserLike) -> Coroutine[Any, Any, bool]:
        """
        Tell whether *user* has an open connection anywhere.

        Who reloads a page has none for a moment, though `on_offline` is told only after `offline_grace`.
        """
        require_event_loop("is_online")
        return Awaited("is_online", _is_online(self._settings, user))

    def online(self, users: Iterable[UserLike] | None = None) -> Coroutine[Any, Any, set[str]]:
        """
        Return the ids of those *users*, at most 10 000, who have an open connection anywhere.

        Without *users*: of everyone. That reads the whole table, which is fine for thousands, not for millions.
        """
        require_event_loop("online")
        return Awaited("online", _online(self._settings, users))


def revoke(
    users: UserLike | Iterable[UserLike], *, for_seconds: float = REVOKED_SECONDS, reason: str = ""
) -> Coroutine[Any, Any, Delivery]:
    """Sign *users* out everywhere and keep them out: `socket.to(users).revoke(...)`, which says more."""
    return Socket[Any]().to(users).revoke(for_seconds=for_seconds, reason=reason)


async def _is_online(settings: Settings, user: UserLike) -> bool:
    return bool(await _online(settings, [user]))


async def _online(settings: Settings, users: Iterable[UserLike] | None) -> set[str]:
    return sending.ids_in(await ask(settings, sending.online_calls(settings, users)))
