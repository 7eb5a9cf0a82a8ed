"""Frames of the WebSocket protocol, compared with those that the websockets library writes."""

import pytest
from websockets.frames import Close, Frame, Opcode

from qrsocket.server.framing import BINARY, TEXT, close_frame, event_of, framed

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message(opcode: int, size: int) -> None:
    """
    A frame of each length of header, and what it is as an ASGI event.
    """
    payload = b"x" * size
    frame = framed(opcode, payload)

    assert Frame(Opcode(opcode), payload).serialize(mask=False) == frame
    content = {"bytes": payload} if opcode == BINARY else {"text": payload.decode()}
    assert {"type": "websocket.send", **content} == event_of(frame)


@pytest.mark.parametrize("reason", ["", "bye", "ü" * 61])
def test_a_close_frame(reason: str) -> None:
    """
    Code and reason, up to the 125 bytes of a control frame.
    """
    frame = close_frame(4101, reason)

    assert Frame(Opcode.CLOSE, Close(4101, reason).serialize()).serialize(mask=False) == frame
