"""One connection of a client of a fault run: what it sees, it writes down."""

import asyncio
import socket
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from tests.faults.asking import Asking
from tests.faults.device import PLAIN, V1, Device
from tests.faults.reading import Reading, hello

CUT_OFF, OVERLOADED = 1006, 1013

OPEN_TIMEOUT, READY_TIMEOUT = 2.0, 5.0
# A node that is frozen for longer loses its clients; one that is frozen for less keeps them.
PING_INTERVAL, PING_TIMEOUT = 1.5, 2.5
STAY = (1.0, 8.0)
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
        self._asking = Asking(device, id, self._record)
        self._reading = Reading(device, self._record, self._open, self._asking)

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
            f"ws://127.0.0.1:{port}/socket?user={habits.user}&feeds={'+'.join(habits.feeds)}",
            sock=await _connected(port),
            subprotocols=[Subprotocol("qrsocket.v1")] if habits.protocol == V1 else None,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=1,
            ping_interval=PING_INTERVAL,
            ping_timeout=PING_TIMEOUT,
            max_queue=FRAMES_READ_AHEAD,
            compression="deflate" if habits.compresses else None,
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
                self._reading.take(await connection.recv())
        except ConnectionClosed:
            return

    async def _write(self, connection: ClientConnection) -> None:
        """Say hello, then ask one thing after the other."""
        try:
            if self._habits.protocol == V1:
                await connection.send(hello(self._device))
            await self._opened.wait()
            await self._asking.run(connection.send)
        except* ConnectionClosed:
            pass

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
