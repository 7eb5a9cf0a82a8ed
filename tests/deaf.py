"""A WebSocket client that stops reading."""

import asyncio
import base64
import os
import socket


class Deaf:
    """A client that shakes hands and then reads nothing more, as a page in a frozen tab or a phone in a tunnel."""

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that little is held on the way
        self._socket.connect((host, int(port)))
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET /socket?user=alice HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self._socket.sendall(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())

    async def opened(self) -> None:
        self._socket.setblocking(False)
        head = b""
        while b"\r\n\r\n" not in head:
            head += await asyncio.get_running_loop().sock_recv(self._socket, 1)

    def send_close(self) -> None:
        self._socket.setblocking(True)
        self._socket.sendall(b"\x88\x80" + os.urandom(4))

    def close(self) -> None:
        self._socket.close()
