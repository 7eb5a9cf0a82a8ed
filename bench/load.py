"""The clients of a web node: they open connections, count the messages that each gets, and miss none silently."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from bench.frames import BINARY, CLOSE, PING, PONG, TEXT, FrameReader, client_frame, upgrade

MARK = b'"at":'  # in every message that is sent here, and in nothing else that a node says
PATIENCE = 60.0
OPENED_AT_ONCE = 50


class Lost(Exception):
    """Raised when a connection got fewer messages than were sent to it, or more."""


class Refused(Exception):
    """Raised when a node does not take a connection. The text has its answer."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """
    How a client greets a node.

    Attributes:
        path: With `{user}` in it.
        subprotocol: Offered in the handshake.
        hello: The client's first frame.
        ready: How the frame begins with which the connection is open; empty if the handshake is enough.
        answers: What a frame that is exactly this is answered with: pings in text frames.
    """

    path: str = "/socket?user={user}"
    subprotocol: str = ""
    hello: bytes = b""
    ready: bytes = b""
    answers: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """Messages sent to one client, over all connections that it had one after the other, and those that came."""

    user: str
    sent: int = 0
    received: int = 0


class Connection(asyncio.Protocol):
    def __init__(self, tally: Tally, load: "Load", path: str, hello: bytes) -> None:
        self.tally, self.opened = tally, asyncio.get_running_loop().create_future()
        self._load, self._dialect = load, load.dialect
        self._request, self._hello = upgrade(path, load.dialect.subprotocol), hello
        self._head, self._is_upgraded, self._is_over = b"", False, False
        self._frames = FrameReader()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._is_upgraded:
            data = self._upgraded(data)
        for opcode, payload in self._frames.feed(data):
            if opcode <= BINARY and MARK in payload:
                self.message(payload)
            else:
                self.control(opcode, payload)

    def connection_lost(self, error: Exception | None) -> None:
        why = f"{self.tally.user}: {error or self._head.decode()}"
        if not self.opened.done():
            self.opened.set_exception(Refused(f"no connection for {why}"))
        elif not self._is_over:
            self._load.fail(f"closed by the node, the connection of {why}")

    def message(self, payload: bytes) -> None:
        self.tally.received += 1
        self._load.count(payload)

    def control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._transport.write(client_frame(PONG, payload))
        elif opcode == CLOSE:
            self._head = b"%d %s" % (int.from_bytes(payload[:2], "big"), payload[2:])
            self._transport.close()
        elif (answer := self._dialect.answers.get(payload)) is not None:
            self._transport.write(client_frame(TEXT, answer))
        elif self._dialect.ready and payload.startswith(self._dialect.ready) and not self.opened.done():
            self.opened.set_result(None)

    def cut(self) -> None:
        self._is_over = True
        self._transport.abort()

    def _upgraded(self, data: bytes) -> bytes:
        """Return what follows the answer to the handshake, once that is there."""
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end or b" 101 " not in head:
            return b""
        self._is_upgraded, self._head = True, b""
        if self._hello:
            self._transport.write(client_frame(TEXT, self._hello))
        if not self._dialect.ready:
            self.opened.set_result(None)
        return rest


class Load:
    """
    All clients of one measurement.

    Attributes:
        delays_ms: From the call of the sender to the client, of each message since this was set to a list.
        retry_after: Seconds after which a client that was refused asks again; by default it does not.
    """

    def __init__(self, dialect: Dialect, kind: type[Connection] = Connection) -> None:
        self.dialect, self._kind = dialect, kind
        self.connections: list[Connection] = []
        self.delays_ms: list[float] | None = None
        self.retry_after: tuple[float, ...] = ()
        self.refused = 0
        self._tallies: dict[str, list[Tally]] = {}
        self._sent = self._received = 0
        self._changed, self._fault = asyncio.Event(), ""

    async def open(self, port: int, users: Iterable[str], query: str = "") -> None:
        """Open a connection for each of *users*, some at a time."""
        waiting = iter(list(users))

        async def open_next() -> None:
            for user in waiting:
                tally = Tally(user)
                self._tallies.setdefault(user, []).append(tally)
                self.connections.append(await self.connect(port, tally, self.dialect.hello, query))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(OPENED_AT_ONCE):
                tasks.create_task(open_next())

    async def connect(self, port: int, tally: Tally, hello: bytes, query: str = "") -> Connection:
        """
        Raises:
            Refused: The node did not take it, nor after the last of `retry_after`.
        """
        for delay in self.retry_after:
            with suppress(Refused):
                return await self._connect(port, tally, hello, query)
            self.refused += 1
            await asyncio.sleep(delay)
        return await self._connect(port, tally, hello, query)

    async def _connect(self, port: int, tally: Tally, hello: bytes, query: str) -> Connection:
        path = self.dialect.path.format(user=tally.user) + query
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            _, made = await loop.create_connection(lambda: self._kind(tally, self, path, hello), "127.0.0.1", port)
            await made.opened
        return made

    @asynccontextmanager
    async def receiving(self, users: Iterable[str]) -> AsyncIterator[None]:
        """
        Wait, when the block ends, until each of *users* has what the block sends: a message for each time it is named.

        Raises:
            Lost: Something did not come, or a connection was closed.
        """
        self._changed.clear()
        for user in users:
            for tally in self._tallies[user]:
                tally.sent += 1
                self._sent += 1
        yield
        if self._received < self._sent and not self._fault:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), PATIENCE)
        if self._fault or self._received < self._sent:
            raise Lost(self._fault or self._wrong())

    def count(self, payload: bytes) -> None:
        self._received += 1
        if self.delays_ms is not None:
            sent_at = int(payload.partition(MARK)[2].partition(b",")[0])
            self.delays_ms.append((time.monotonic_ns() - sent_at) / 1e6)
        if self._received >= self._sent:
            self._changed.set()

    def fail(self, fault: str) -> None:
        self._fault = self._fault or fault
        self._changed.set()

    def close(self) -> None:
        """
        Cut off every client, and count anew.

        Raises:
            Lost: A client got fewer messages than were sent to it, or more.
        """
        wrong = self._wrong()
        for connection in self.connections:
            connection.cut()
        self.connections.clear()
        self._tallies.clear()
        self._sent = self._received = 0
        if wrong:
            raise Lost(wrong)

    def _wrong(self) -> str:
        """Say which clients got fewer or more messages than were sent to them."""
        tallies = [tally for tallies in self._tallies.values() for tally in tallies]
        wrong = [f"{tally.user}: {tally.received} of {tally.sent}" for tally in tallies if tally.sent != tally.received]
        return f"{len(wrong)} of {len(tallies)} clients: {', '.join(wrong[:5])}" if wrong else ""
