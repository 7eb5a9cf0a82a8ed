"""
Frames of the WebSocket protocol, as a server writes them: whole, and not masked.

Source: RFC 6455, section 5.2
"""

from typing import Any

FIN = 0x80
TEXT, BINARY, CLOSE = 0x1, 0x2, 0x8
# Most payloads are short: what is before them is looked up.
MOST_IN_ONE_BYTE, MOST_IN_TWO_BYTES = 125, 65_535
SHORT_HEADS = {opcode: [bytes((FIN | opcode, size)) for size in range(126)] for opcode in (TEXT, BINARY, CLOSE)}


def framed(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size <= MOST_IN_ONE_BYTE:
        return SHORT_HEADS[opcode][size] + payload
    if size <= MOST_IN_TWO_BYTES:
        return b"%c\x7e%b%b" % (FIN | opcode, size.to_bytes(2), payload)
    return b"%c\x7f%b%b" % (FIN | opcode, size.to_bytes(8), payload)


def close_frame(code: int, reason: str) -> bytes:
    return framed(CLOSE, code.to_bytes(2) + reason.encode())


def event_of(frame: bytes) -> dict[str, Any]:
    """Return *frame*, of text or bytes, as an ASGI event."""
    payload = frame[{126: 4, 127: 10}.get(frame[1], 2) :]
    if frame[0] == FIN | BINARY:
        return {"type": "websocket.send", "bytes": payload}
    return {"type": "websocket.send", "text": payload.decode()}
