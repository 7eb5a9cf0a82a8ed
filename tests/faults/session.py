"""One connection of a client of a fault run: what it sees, it writes down."""

import asyncio
import json
import socket
from itertools import count
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from tests.faults.device import PLAIN, V1, Device
from tests.faults.messages import LAST

CUT_OFF, OVERLOADED = 1006, 1013

OPEN_TIMEOUT, READY_TIMEOUT = 2.0, 5.0
# A node that is frozen for longer loses its clients; one that is frozen for less keeps them.
PING_INTERVAL, PING_TIMEOUT = 1.5, 2.5
STAY = (1.0, 8.0)
REQUEST_PAUSE = (0.5, 5.0)
# Little, so that its node sees it when a client stops reading.
FRAMES_READ_AHEAD, RECEIVE_BUFFER_BYTES = 4, 32 * 1024


class Session:
    """
    One connection of a device.

    Attributes:
        was_accepted: It was open, and not closed again at once as by a node that cannot serve it.
        is_leaving: It is closed by the device itself.
    """

    def __init__(self, device: Device, id: str) -> None:
        self.was_accepted = self.is_leaving = False
        self._device, self._habits, self._id = device, device.habits, id
        self._opened = asyncio.Event()
        self._asked: str | None = None
        self._answered = asyncio.Event()

    async def live(self) -> None:
        """Connect, and take what comes until it is closed."""
        code = CUT_OFF
        try:
            connection = self._device.connection = await self._connect()
            try:
                await self._talk(connection)
            finally:
                code = connection.close_code or CUT_OFF
                self.was_accepted = self._opened.is_set() and code != OVERLOADED
        except (OSError, InvalidHandshake):  # nobody is there, or nobody answers
            pass
        finally:
            self._device.is_open, self._device.connection = False, None
            self._record("closed", code=code)

    async def _connect(self) -> ClientConnection:
        habits = self._habits
        node = self._device.chance.choice(habits.nodes)
        who = {"device": habits.name, "user": habits.user, "protocol": habits.protocol, "node": node}
        self._record("connecting", **who, position=self._device.position)
        port = self._device.ports[node]
        return await connect(
            f"ws://127.0.0.1:{port}/socket?user={habits.user}",
            sock=await _connected(port),
            subprotocols=[Subprotocol("qrsocket.v1")] if habits.protocol == V1 else None,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=1,
            ping_interval=PING_INTERVAL,
            ping_timeout=PING_TIMEOUT,
            max_queue=FRAMES_READ_AHEAD,
            compression=None,
        )

    async def _talk(self, connection: ClientConnection) -> None:
        try:
            async with asyncio.TaskGroup() as together:
                # What is written while it is being closed is lost, and the reader sees why.
                others = [together.create_task(self._write(connection)), together.create_task(self._leave(connection))]
                try:
                    await self._read(connection)
                finally:
                    for task in others:
                        task.cancel()
        finally:
            connection.transport.abort()

    async def _read(self, connection: ClientConnection) -> None:
        if self._habits.protocol == PLAIN:
            self._record("open")
            self._open()
        try:
            while True:
                await self._device.hears.wait()
                self._take(await connection.recv())
        except ConnectionClosed:
            return

    async def _write(self, connection: ClientConnection) -> None:
        """Say hello, then ask one thing after the other."""
        try:
            if self._habits.protocol == V1:
                epoch, offset = self._device.position or (None, None)
                hello = {"epoch": epoch, "offset": offset} if epoch is not None else {}
                await connection.send(f"!hello\n{json.dumps(hello)}")
            await self._opened.wait()
            for number in count(1) if self._habits.asks else ():
                await asyncio.sleep(self._device.chance.uniform(*REQUEST_PAUSE))
                await self._ask(connection, f"{self._id}?{number}")
        except ConnectionClosed:
            return

    async def _ask(self, connection: ClientConnection, request: str) -> None:
        self._asked = request
        self._answered.clear()
        self._record("request", request=request)
        words = json.dumps({"request": request})
        await connection.send(f"{request}\n{words}" if self._habits.protocol == V1 else words)
        await self._answered.wait()

    async def _leave(self, connection: ClientConnection) -> None:
        """Close it if it is never open; if it is, and the device wanders, after some time."""
        device = self._device
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                await self._opened.wait()
        except TimeoutError:
            await connection.close()
            return
        try:
            async with asyncio.timeout(device.chance.uniform(*STAY) if self._habits.wanders else None):
                await device.stays.wait()
        except TimeoutError:
            self.is_leaving = True
            if device.chance.random() < 0.3:
                device.cut()
            else:
                await connection.close()

    def _take(self, frame: str | bytes) -> None:
        if self._habits.protocol == PLAIN:
            self._process(json.loads(frame), None)
            return
        head, _, body = (frame if isinstance(frame, str) else frame.decode()).partition("\n")
        if head.startswith("!"):
            self._obey(head[1:], json.loads(body))
            return
        epoch, _ = self._device.position or ("", 0)
        self._process(json.loads(body), int(head))
        self._device.position = (epoch, int(head))

    def _obey(self, name: str, words: dict[str, Any]) -> None:
        match name:
            case "ready":
                fields = {name: words[name] for name in ("epoch", "offset", "recovered", "user")}
                self._record("ready", **fields)
                self._device.position = (words["epoch"], words["offset"])
                self._open()
            case "gap":
                self._record("gap", epoch=words["epoch"], offset=words["offset"])
                self._device.position = (words["epoch"], words["offset"])
            case "error":
                self._answer(words.get("request"))

    def _process(self, message: dict[str, Any], offset: int | None) -> None:
        if "id" in message:
            fields = {name: message[name] for name in ("id", "sender", "n", "to")}
            self._record("message", **fields, offset=offset)
            self._device.has_last = self._device.has_last or message["sender"] == LAST
        elif "answer" in message:  # to this device, or to another of the same user
            self._answer(message["answer"])
        elif "error" in message:  # a plain client asks one thing at a time, so it is about that
            self._answer(self._asked)

    def _answer(self, request: str | None) -> None:
        if request is not None and request == self._asked:
            self._record("answer", request=request)
            self._answered.set()

    def _open(self) -> None:
        self._device.is_open = self._device.has_been_open = True
        self._opened.set()

    def _record(self, e: str, **fields: Any) -> None:
        self._device.recorder.record(e, session=self._id, **fields)


async def _connected(port: int) -> socket.socket:
    connection = socket.socket()
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    except BaseException:
        connection.close()
        raise
    return connection
