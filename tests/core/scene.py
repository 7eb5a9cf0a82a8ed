"""A hub with connections whose clients take what they are given, or do not."""

from dataclasses import dataclass, field

from qrsocket.fanout.publish import Envelope
from qrsocket.message import NO_OPTIONS, Kind, Message, Options
from qrsocket.position import Entry, Missed, Position
from qrsocket.server.connection import Connection
from qrsocket.server.framing import event_of
from qrsocket.server.hub import Hub
from qrsocket.server.outbox import Outbox
from qrsocket.server.subscription import Subscription
from qrsocket.server.wire import VERSION1, Wire
from qrsocket.settings import Settings


class Stub(Connection):
    """A connection whose client takes nothing: what waits for it is what it has been told."""

    def __init__(self, id: str, user: str | None, wire: Wire, settings: Settings) -> None:
        outbox = Outbox()
        outbox.hold()
        super().__init__(id, None, wire, user, settings, outbox)  # type: ignore[arg-type]
        self._told: list[str] = []
        self.orders: list[Message] = []
        self.on_order = self.orders.append

    def told(self) -> list[str]:
        """What has come since the last time, in words: `17 t=room 1`."""
        self.take()
        told, self._told = self._told, []
        return told

    def take(self) -> None:
        """Let the client take all that waits."""
        self.begin(self._take)
        self.pause_writing()

    def pause_writing(self) -> None:
        """As a client that takes nothing more."""
        self._write = None

    def _take(self, frames: list[bytes]) -> None:
        self._told += map(words_of, frames)


def words_of(frame: bytes) -> str:
    event = event_of(frame)
    text: str = event["text"] if "text" in event else event["bytes"].decode()
    return text.replace("\n", " ").rstrip()


@dataclass
class Scene:
    """A hub, and what it has asked for."""

    behind: list[Subscription] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    members_changed: int = 0
    hub: Hub = field(init=False)
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.hub = Hub(self.behind.append, self.stale.append, self._on_members)

    def _on_members(self) -> None:
        self.members_changed += 1

    def connect(self, id: str, user: str | None = "ada", *, wire: Wire = VERSION1) -> Stub:
        connection = Stub(id, user, wire, self.settings)
        self.hub.add(connection)
        return connection

    def join(
        self, connection: Connection, stream: str, at: int = 10, *, missed: tuple[int, ...] = (), members: bool = False
    ) -> Subscription:
        """Subscribe, and begin at *at*; of a client that comes back, with these messages before."""
        subscription = self.hub.subscribe(connection, stream, members=members)
        self.hub.begin(subscription, page(at, *missed))
        return subscription

    def send(self, stream: str, offset: int | None, message: Message | None = None, epoch: str = "e") -> None:
        message = message or Message(Kind.JSON, b"%d" % (offset or 0))
        self.hub.deliver(Envelope(1, epoch, "m1", ((stream, offset),), message))

    def caught_up(self) -> list[Subscription]:
        """Return who is to read since this was asked last."""
        behind, self.behind[:] = list(self.behind), []
        return behind


def at(offset: int, epoch: str = "e") -> Position:
    return Position(epoch, offset)


def message(offset: int, options: Options = NO_OPTIONS) -> Message:
    return Message(Kind.JSON, b"%d" % offset, options)


def page(top: int, *offsets: int, reached: int | None = None, is_whole: bool = True, epoch: str = "e") -> Missed:
    entries = tuple(Entry(offset, message(offset)) for offset in offsets)
    return Missed(at(top, epoch), at(top if reached is None else reached, epoch), is_whole, entries)
