"""A topic, as a test's client has joined it."""

from pydantic_core import to_json

from qrsocket.streams import of_topic
from qrsocket.testing.conversation import TopicInbox
from qrsocket.testing.link import Link
from qrsocket.testing.receiver import Receiver


class RequestFailed(AssertionError):
    """
    Raised when a request, or the wish to join a topic, was answered with an error.

    Attributes:
        error: Its text.
    """

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class JoinedTopic(Receiver):
    """What comes of a topic: made by `Client.join` and `Client.topic`."""

    def __init__(self, link: Link, name: str) -> None:
        super().__init__(link, link.conversation.topic(name))
        self.name = name

    @property
    def members(self) -> set[str]:
        """Ids of the users that have joined, as was told last."""
        return set(self._topic.members)

    @property
    def is_joined(self) -> bool:
        return self._topic.left is None

    @property
    def recovered(self) -> bool:
        """Whether nothing is missing between what came before the last (re)connect and what comes after it."""
        return self._topic.recovered

    @property
    def gaps(self) -> int:
        """How often it was told, while connected, that something may be missing."""
        return self._topic.gaps

    async def members_are(self, *users: str, timeout: float | None = None) -> None:
        """Wait until those, and only those, have joined."""
        wanted = set(users)
        what = f"the members {sorted(wanted)} in {self.name}"
        await self._link.wait(lambda: self._topic.members == wanted or None, what, timeout)

    async def left(self, *, timeout: float | None = None) -> str:
        """Wait until this client is not in the topic any more, and return why: `asked`, `removed` or `refused`."""
        return await self._link.wait(lambda: self._topic.left, f"to have left {self.name}", timeout)

    async def leave(self, *, timeout: float | None = None) -> None:
        """Leave it. Nothing more of it comes then."""
        await self._link.write(f"!leave\n{to_json({'topic': self.name}).decode()}")
        await self.left(timeout=timeout)

    async def receives_nothing(self, *, timeout: float | None = None) -> None:
        """Check that no message of the topic is left, received or on its way. See `Client.receives_nothing`."""
        await self._check_nothing(of_topic(self.name), timeout)

    @property
    def _topic(self) -> TopicInbox:
        return self._link.conversation.topic(self.name)
