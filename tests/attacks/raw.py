"""Bytes on a socket, as an attacker writes them; and frames as RFC 6455 has them, or as it forbids them."""

import base64
import os
import re
import socket
import struct
from collections.abc import Iterator
from types import TracebackType

from tests.clients import PATIENCE

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def head(path: str = "/socket", *lines: str, origin: str | None = None) -> bytes:
    """Return the head of a handshake, with further *lines*."""
    key = base64.b64encode(os.urandom(16)).decode()
    words = [f"GET {path} HTTP/1.1", "Host: node", "Upgrade: websocket", "Connection: Upgrade"]
    words += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *lines]
    words += [] if origin is None else [f"Origin: {origin}"]
    return "\r\n".join([*words, "", ""]).encode("latin-1")


def frame(
    payload: bytes = b"", opcode: int = TEXT, *, fin: bool = True, rsv: int = 0, masked: bool = True, length: int = -1
) -> bytes:
    """Return one frame, with a mask of zeros. *length* is what it declares, if that is not what it has."""
    size = len(payload) if length < 0 else length
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    mask = 0x80 if masked else 0
    if size < 126:
        begin = struct.pack("!BB", first, mask | size)
    elif size < 65_536:
        begin = struct.pack("!BBH", first, mask | 126, size)
    else:
        begin = struct.pack("!BBQ", first, mask | 127, size)
    return begin + (bytes(4) if masked else b"") + payload


def frames(data: bytes | bytearray, at: int = 0) -> Iterator[tuple[int, bytes, int]]:
    """Yield opcode, payload and end of each whole frame of a server, from *at* on."""
    while len(data) >= at + 2:
        opcode, size, begin = data[at] & 0x0F, data[at + 1] & 0x7F, at + 2
        if size >= 126:
            begin += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : begin])
        at = begin + size
        if len(data) >= at:
            yield opcode, bytes(data[begin:at]), at


class Raw:
    """A TCP connection to `127.0.0.1:<port>`."""

    def __init__(self, address: str, *, receive_buffer: int | None = None, patience: float = PATIENCE) -> None:
        host, _, port = address.partition(":")
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(patience)
        self._socket.connect((host, int(port)))
        self.port: int = self._socket.getsockname()[1]
        self.received = bytearray()

    def __enter__(self) -> "Raw":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, data: bytes) -> bool:
        """Send all of it. Returns False if the other side has closed before."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def open(self, path: str = "/socket", *lines: str) -> "Raw":
        """Shake hands."""
        self.send(head(path, *lines))
        self.wait_for(b"\r\n\r\n")
        status, _, self.received = self.received.partition(b"\r\n\r\n")
        assert b" 101 " in status, status
        return self

    def answer(self) -> str:
        """
        Wait until the other side closes, or wants to. Returns the status of its HTTP answer, a close code, or
        "cut off".
        """
        at = 0
        while self._read():
            if self.received.startswith(b"HTTP/"):
                continue
            for opcode, payload, end in frames(self.received, at):
                at = end
                if opcode == CLOSE:
                    return str(int.from_bytes(payload[:2]))
        match = re.match(rb"HTTP/1\.1 (\d+)", self.received)
        return match[1].decode() if match else "cut off"

    def is_open(self, seconds: float) -> bool:
        """Whether the other side has not closed within so many *seconds*."""
        self._socket.settimeout(seconds)
        try:
            while self._read(quietly=False):
                pass
        except TimeoutError:
            return True
        return False

    def wait_for(self, words: bytes) -> None:
        """Read until *words* have come."""
        while words not in self.received:
            assert self._read(), self.received[-200:]

    def _read(self, *, quietly: bool = True) -> bool:
        try:
            data = self._socket.recv(65_536)
        except TimeoutError:
            if quietly:
                raise AssertionError(f"not closed in time; received: {self.received[-200:]!r}") from None
            raise
        except OSError:
            return False
        self.received += data
        return bool(data)
