"""RFC 6455 for a client that counts: reads the frames of a server, and writes frames masked with zeros."""

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIN_ALONE = 0x80  # whole, and not compressed
MASKED = 0x80
HEADERS = (
    "Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)

Frame = tuple[int, bytes]


class FrameReader:
    """Turns what a socket reads, cut anywhere, into opcodes and payloads."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """
        Return the frames that are whole now.

        Raises:
            ValueError: One is a fragment, or compressed: neither was asked for.
        """
        data = self._rest + data if self._rest else data
        frames, at, size = [], 0, len(data)
        while size - at >= 2:
            length, start = data[at + 1], at + 2
            if length >= 126:
                wide = 2 if length == 126 else 8
                length = int.from_bytes(data[start : start + wide], "big")
                start += wide
            if start + length > size:
                break
            if data[at] & 0xF0 != FIN_ALONE:
                raise ValueError(f"a fragment or compressed: {data[at]:#x}")
            frames.append((data[at] & 0x0F, data[start : start + length]))
            at = start + length
        self._rest = data[at:]
        return frames


def client_frame(opcode: int, payload: bytes) -> bytes:
    """Return a frame of a client. The key of its mask is zeros, which leave the payload as it is."""
    return bytes((FIN_ALONE | opcode,)) + _length(len(payload), MASKED) + bytes(4) + payload


def server_frame(payload: bytes) -> bytes:
    """Return a text frame of a server."""
    return bytes((FIN_ALONE | TEXT,)) + _length(len(payload), 0) + payload


def upgrade(path: str, subprotocol: str) -> bytes:
    """Return the head of a request for a WebSocket."""
    offered = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    return f"GET {path} HTTP/1.1\r\n{HEADERS}{offered}\r\n".encode()


def _length(length: int, mask: int) -> bytes:
    if length < 126:
        return bytes((mask | length,))
    if length < 1 << 16:
        return bytes((mask | 126,)) + length.to_bytes(2, "big")
    return bytes((mask | 127,)) + length.to_bytes(8, "big")
