"""
What one connection may try, and how ours answers: the tests run each, and `python -m tests.attacks.stock` runs each
against uvicorn's own classes as well.
"""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from tests.attacks.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, frame, head

Pieces: TypeAlias = Callable[[], Iterable[bytes]]

GET = b"GET /echo HTTP/1.1\r\nHost: node\r\n\r\n"
POST_CHUNKS = b"POST /echo HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


@dataclass(frozen=True)
class Attack:
    """
    Attributes:
        pieces: What is sent, one after the other, until the other side closes.
        answer: The status or close code of our classes; "cut off" if there is neither.
        opens: It is sent on a WebSocket that is open, after these lines in its handshake.
    """

    name: str
    pieces: Pieces
    answer: str
    opens: tuple[str, ...] | None = None

    def run(self, address: str, path: str = "/socket") -> str:
        """Attack the node, and return its answer."""
        self.pieces()  # to make some takes longer on a busy machine than a head, or a ping, may
        with Raw(address) as raw:
            return self.attempt(raw, path)

    def attempt(self, raw: Raw, path: str) -> str:
        if self.opens is not None:
            raw.open(path, *self.opens)
        for piece in self.pieces():
            if not raw.send(piece):
                break
        return raw.answer()


def sent(*pieces: bytes) -> Pieces:
    return lambda: pieces


def repeated(first: bytes, piece: bytes, times: int) -> Pieces:
    return lambda: (first, *([piece] * times))


def shake(*lines: str, path: str = "/socket", method: bytes = b"GET") -> Pieces:
    return lambda: [head(path, *lines).replace(b"GET", method, 1)]


@cache
def deflated(size: int) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -12)
    return (compressor.compress(bytes(size)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


HEADS = [
    Attack("a connection that says nothing", sent(), "cut off"),
    Attack("a head that stops half-way", sent(b"GET /socket HT"), "408"),
    Attack("an empty line, and no head", sent(b"\r\n"), "408"),
    Attack("half a head after a request", sent(GET + b"GET /"), "200"),
    Attack("an endless header line", repeated(b"GET / HTTP/1.1\r\nX: ", b"x" * 65_536, 500), "431"),
    Attack("an endless path", repeated(b"GET /", b"x" * 65_536, 500), "431"),
    Attack("endless headers", repeated(b"GET / HTTP/1.1\r\n", b"X: 1\r\n" * 10_000, 500), "431"),
    Attack("headers of 64 KiB", shake(*[f"X-{n}: {'x' * 1000}" for n in range(70)]), "431"),
    Attack("150 headers", shake(*[f"X-{n}: 1" for n in range(150)]), "431"),
    Attack("a header of 9 KiB", shake("X: " + "x" * 9_000), "431"),
    Attack("a path of 9 KiB", shake(path="/socket?" + "x" * 9_000), "414"),
    Attack("endless trailers", repeated(POST_CHUNKS + b"0\r\n", b"X: 1\r\n" * 10_000, 500), "431"),
    Attack("an endless chunk size", repeated(POST_CHUNKS + b"1;", b"x" * 65_536, 500), "431"),
    Attack("thousands of requests at once", repeated(b"", GET * 2_000, 20), "429"),
    Attack("no HTTP", sent(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "400"),
    Attack("a handshake with a body", lambda: [head("/socket", "Content-Length: 5") + b"hello"], "400"),
    Attack("a handshake without a key", lambda: [head().replace(b"-Key", b"-Kex")], "400"),
    Attack("a handshake by POST", shake(method=b"POST"), "405"),
    Attack("two Origins", shake("Origin: http://node", "Origin: http://evil.example"), "400"),
    Attack("letters that are no ASCII in the path", shake(path="/sock\xe9t"), "400"),
    Attack("a line end in a header", shake("X: 1\n2"), "400"),
    Attack("an application that does not answer", shake(path="/hanging"), "503"),
    Attack(
        "frames before the handshake is answered",
        lambda: [head("/hanging"), *[frame(b"x" * 60_000, PING if n % 2 else TEXT) for n in range(100)]],
        "503",
    ),
]

FRAMES = [
    Attack("a frame without a mask", sent(frame(b"1", masked=False)), "1002", ()),
    Attack("a reserved bit", sent(frame(b"1", rsv=4)), "1002", ()),
    Attack("a reserved opcode", sent(frame(b"1", 3)), "1002", ()),
    Attack("a reserved control opcode", sent(frame(b"1", 11)), "1002", ()),
    Attack("a ping in two fragments", sent(frame(b"1", PING, fin=False)), "1002", ()),
    Attack("a ping of 126 bytes", sent(frame(b"x" * 126, PING)), "1002", ()),
    Attack("a continuation of nothing", sent(frame(b"1", CONTINUATION)), "1002", ()),
    Attack("a message within a message", sent(frame(b"1", fin=False), frame(b"2")), "1002", ()),
    Attack("a close of one byte", sent(frame(b"1", CLOSE)), "1002", ()),
    Attack("a close code that is never sent", sent(frame(b"\x03\xed", CLOSE)), "1002", ()),
    Attack("a message over 64 KiB", sent(frame(b"x" * 65_537)), "1009", ()),
    Attack(
        "a message over 64 KiB in fragments",
        sent(frame(b"x" * 40_000, BINARY, fin=False), frame(b"x" * 40_000, CONTINUATION)),
        "1009",
        (),
    ),
    Attack("a declared length of 2^62", sent(frame(length=2**62)), "1009", ()),
    Attack("invalid UTF-8", sent(frame(b"\xff\xfe")), "1007", ()),
    Attack(
        "invalid UTF-8 over two fragments", sent(frame(b"\xe2", fin=False), frame(b"\x28", CONTINUATION)), "1007", ()
    ),
    Attack("a flood of pings", repeated(b"", frame(b"x" * 125, PING) * 1_000, 100), "cut off", ()),
    Attack("a flood of pongs", repeated(b"", frame(b"", PONG) * 1_000, 100), "cut off", ()),
    Attack(
        "a flood of empty fragments", repeated(frame(fin=False), frame(b"", 0, fin=False) * 1_000, 100), "cut off", ()
    ),
    Attack("a flood of messages", sent(frame(b"1") * 150), "4104", ()),
    Attack("a message that unfolds to 100 MB", lambda: [frame(deflated(10**8), BINARY, rsv=4)], "1009", (DEFLATE,)),
]
