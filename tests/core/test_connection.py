"""One connection by itself: what its client is told, by which way, and how it is closed."""

import asyncio
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from qrsocket.errors import CloseCode
from qrsocket.message import Close, Kind, Message
from qrsocket.position import Position
from qrsocket.server import connection as module
from qrsocket.server.connection import Connection
from qrsocket.server.outbox import Outbox
from qrsocket.server.wire import PLAIN, VERSION1, Wire
from qrsocket.settings import Settings
from tests.core.scene import words_of


class Socket:
    """
    What a server gives an application, and what it was sent.

    Attributes:
        is_read: Cleared, its client reads nothing.
        fails: Raised when it is closed.
    """

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.closed: tuple[int, str] | None = None
        self.is_read = asyncio.Event()
        self.is_read.set()
        self.fails: Exception | None = None

    async def send(self, event: Any) -> None:
        await self.is_read.wait()
        if self.fails is not None:
            raise self.fails
        self.events.append(event)

    async def close(self, code: int, reason: str) -> None:
        await self.is_read.wait()
        if self.fails is not None:
            raise self.fails
        self.closed = (code, reason)


class Lent:
    """
    A protocol that lends its transport, or has compression negotiated and does not.

    Attributes:
        done: What it was asked for.
    """

    def __init__(self, *, lends: bool) -> None:
        self._lends = lends
        self.frames: list[bytes] = []
        self.done: list[Any] = []

    def lend(self, connection: Connection) -> bool:
        if self._lends:
            connection.begin(self.frames.extend)
        return self._lends

    def cut(self, code: int, reason: str) -> None:
        self.done.append(("cut", code, reason))

    def take_back(self) -> None:
        self.done.append("take back")

    def abort_what_is_not_read(self) -> None:
        self.done.append("abort what is not read")


def connect(socket: Socket, wire: Wire = VERSION1, user: str | None = "ada") -> Connection:
    return Connection("c1", socket, wire, user, Settings(), Outbox())  # type: ignore[arg-type]


async def told(connection: Connection, socket: Socket) -> list[str]:
    connection.open(None)
    await connection.drained()
    return [(event.get("text") or event["bytes"].decode()).replace("\n", " ") for event in socket.events]


async def test_what_a_client_is_told_of_its_connection() -> None:
    """
    In the words of its protocol, with the bytes that they take.
    """
    socket = Socket()
    connection = connect(socket)
    sizes = [connection.tell("ready", user="ada"), connection.tell_registered("place", jobs=[])]
    connection.tell_error("No such topic", "12")
    connection.tell_error("Try again", None, is_temporary=True)

    assert [
        '!ready {"user":"ada"}',
        '!place {"jobs":[]}',
        '!error {"error":"No such topic","request":"12"}',
        '!error {"error":"Try again","request":null,"temporary":true}',
    ] == await told(connection, socket)
    assert all(size > 15 for size in sizes)


async def test_what_plain_has_no_words_for() -> None:
    """
    It is not told, and that is said; an error is.
    """
    socket = Socket()
    connection = connect(socket, PLAIN)
    sizes = [connection.tell("ready"), connection.tell_registered("place")]
    is_told = connection.tell_gap("u:ada", Position("e", 1)), connection.tell_gap("t:room", Position("e", 1))
    connection.tell_error("half a pair: \ud800", "12")

    assert ([0, 0], (False, False)) == (sizes, is_told)
    assert ['{"error":"half a pair: ?"}'] == await told(connection, socket)


async def test_only_the_first_reason_to_close_counts() -> None:
    """
    Nothing is offered after it, and nothing obeyed but to close, which it does already.
    """
    socket, closed, orders = Socket(), [], []
    connection = connect(socket)
    connection.on_close, connection.on_order = lambda: closed.append(1), orders.append
    connection.close(4101, "signed out")
    connection.obey(Close(4000, "slow").to_message())
    connection.obey(Message(Kind.LEAVE, b"room"))
    connection.tell_registered("place")
    connection.tell("ready")
    connection.offer_newest("cursor", b"")

    assert [] == await told(connection, socket)
    assert ([1], []) == (closed, orders)
    await connection.finish()
    assert (4101, "signed out") == socket.closed


@pytest.mark.parametrize("lends", [True, False])
async def test_what_is_written_by_which_way(lends: bool) -> None:
    """
    Past the server where it lends its transport; otherwise by ASGI's `send`, in the same words. It is taken back.
    """
    socket, protocol = Socket(), Lent(lends=lends)
    connection = connect(socket)
    connection.open(protocol)  # type: ignore[arg-type]
    connection.tell("ready")
    await connection.finish()

    written = list(map(words_of, protocol.frames)) if lends else [event["text"].rstrip() for event in socket.events]
    assert ["!ready {}"] == [text.replace("\n", " ") for text in written]
    assert (1000, "") == socket.closed
    assert ["take back", "abort what is not read"] == protocol.done


@pytest.mark.parametrize("is_lent", [True, False])
async def test_a_client_that_does_not_read_the_end(is_lent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It has its time; then it is cut off, where a protocol can do that. What is being sent ends.
    """
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.01)
    socket, protocol = Socket(), Lent(lends=False) if is_lent else None
    connection = connect(socket)
    connection.open(protocol)  # type: ignore[arg-type]
    socket.is_read.clear()
    connection.tell("ready")
    connection.flush()
    connection.close(4101, "signed out")
    await connection.finish()

    assert (None, []) == (socket.closed, socket.events)
    if protocol is not None:
        assert ("cut", 4101, "signed out") == protocol.done[0]
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "send" and not task.cancelling()]


async def test_a_client_that_was_too_slow() -> None:
    """
    What waits for it is not waited for: the close frame is tried once, and it is cut off.
    """
    socket, protocol = Socket(), Lent(lends=False)
    connection = connect(socket)
    connection.open(protocol)  # type: ignore[arg-type]
    socket.is_read.clear()
    connection.tell("ready")
    connection.flush()
    connection.close(CloseCode.SLOW_CONSUMER, "slow")
    await connection.finish()

    assert ("cut", CloseCode.SLOW_CONSUMER, "slow") == protocol.done[0]


async def test_a_slow_client_of_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nobody can cut it off: its server has its own time to give up, and then we do.
    """
    monkeypatch.setattr(module, "SERVERS_CLOSE_TIMEOUT", 0.01)
    socket = Socket()
    connection = connect(socket)
    connection.open(None)
    socket.is_read.clear()
    connection.close(CloseCode.SLOW_CONSUMER, "slow")
    await connection.finish()

    assert socket.closed is None


@pytest.mark.parametrize("error", [WebSocketDisconnect(), RuntimeError("closed"), AttributeError("transport")])
async def test_a_client_that_has_gone_first(error: Exception) -> None:
    """
    There is nobody to close: that is no error, nor is what an old uvicorn raises of one that left in its handshake.
    """
    socket = Socket()
    connection = connect(socket)
    connection.open(None)
    socket.fails = error
    connection.tell("ready")
    await connection.finish()

    assert socket.closed is None


async def test_a_fault_of_our_own_is_no_client_that_has_gone() -> None:
    """
    With our protocol class nothing lacks an attribute.
    """
    socket, protocol = Socket(), Lent(lends=True)
    connection = connect(socket)
    connection.open(protocol)  # type: ignore[arg-type]
    socket.fails = AttributeError("x")

    with pytest.raises(AttributeError):
        await connection.finish()
    assert ["take back", "abort what is not read"] == protocol.done


async def test_nobody_is_told_of_what_has_ended() -> None:
    """
    Orders and the close of a connection that has finished concern nobody any more.
    """
    socket, called = Socket(), []
    connection = connect(socket)
    connection.on_close, connection.on_order = lambda: called.append("close"), called.append
    connection.open(None)
    await connection.finish()
    connection.obey(Message(Kind.JOIN, b"room"))
    connection.close(4101)

    assert [] == called


async def test_another_server_that_fails_to_send(caplog: pytest.LogCaptureFixture) -> None:
    """
    The connection is closed as with an error of ours, so that its client comes back and does not wait for ever.
    """
    socket = Socket()
    connection = connect(socket)
    connection.open(None)
    socket.fails = ValueError("no such event")
    connection.tell("ready")
    with caplog.at_level("CRITICAL", logger="qrsocket"):
        await connection.drained()

    assert (CloseCode.INTERNAL_ERROR, "") == connection.closing
