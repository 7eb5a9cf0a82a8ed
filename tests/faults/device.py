"""One client of a fault run: its habits, and where it is in its messages."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection

from tests.faults.conditions import EVERYONE
from tests.faults.history import Recorder

V1, PLAIN = "v1", "plain"


@dataclass(frozen=True, slots=True)
class Habits:
    """
    Attributes:
        nodes: Names of the nodes that it connects to, each time one of them at random.
        wanders: It leaves by itself, for moments.
        asks: It sends requests.
        compresses: Its frames go by ASGI, since only uvicorn can compress them; those of others past it.
        rooms: Topics that it joins and leaves.
        feeds: Topics that the application has it join when it connects.
    """

    name: str
    user: str
    protocol: str
    nodes: Sequence[str]
    wanders: bool
    asks: bool
    compresses: bool
    rooms: Sequence[str] = ()
    feeds: Sequence[str] = ()


@dataclass
class Topic:
    """
    What a device knows of a topic.

    Attributes:
        position: Of the last message that it has processed. Kept when it leaves: it may come back with it.
        members: None where they are not told.
    """

    is_joined: bool = False
    position: tuple[str, int] | None = None
    members: set[str] | None = None


@dataclass
class Device:
    """
    Attributes:
        position: Of the last message that it has processed, if it speaks v1.
        former: Id of its last connection.
        topics: That it has joined once, and everyone's.
        jobs: Of those that its user watches, number and name of the newest state that it was told.
        asks: It has a request that is not answered, or will have one.
        is_open: It can be sent to.
        has_been_open: Since it exists.
        has_last: It has received the very last message to its user.
        hears: Cleared, it stops reading.
        stays: Set, it wanders no more and asks no more.
        connection: While it has one.
    """

    habits: Habits
    ports: dict[str, int]
    recorder: Recorder
    chance: random.Random
    position: tuple[str, int] | None = None
    former: str = ""
    topics: dict[str, Topic] = field(default_factory=dict)
    jobs: dict[str, tuple[int, str]] = field(default_factory=dict)
    asks: bool = False
    is_open: bool = False
    has_been_open: bool = False
    has_last: bool = False
    hears: asyncio.Event = field(default_factory=asyncio.Event)
    stays: asyncio.Event = field(default_factory=asyncio.Event)
    connection: ClientConnection | None = None

    def __post_init__(self) -> None:
        self.hears.set()

    def topic(self, name: str) -> Topic:
        return self.topics.setdefault(name, Topic())

    def joined(self) -> list[str]:
        """Return the topics that it has joined, without everyone's."""
        return [name for name, topic in self.topics.items() if topic.is_joined and name != EVERYONE]

    def cut(self) -> None:
        """Lose the connection, as when a train enters a tunnel."""
        if self.connection is not None:
            self.connection.transport.abort()
