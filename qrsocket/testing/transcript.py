"""What a client said and heard, for when a test fails."""

import time
from collections import deque

from qrsocket.headers import split_frame

LONGEST = 200
MOST_LINES = 1000


class Transcript:
    """Lines of a conversation, each with the seconds since its beginning: `>` was sent, `<` was received."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._lines: deque[str] = deque(maxlen=MOST_LINES)

    def sent(self, frame: str | bytes) -> None:
        self._add(f"> {_in_short(frame)}")

    def received(self, frame: str | bytes) -> None:
        self._add(f"< {_in_short(frame)}")

    def note(self, text: str) -> None:
        self._add(f"- {text}")

    def __str__(self) -> str:
        return "\n".join(self._lines) or "(nothing was said)"

    def _add(self, text: str) -> None:
        self._lines.append(f"{time.monotonic() - self._began_at:8.3f} {text}")


def in_short(payload: str | bytes) -> str:
    """Return *payload* on one line, at most 200 characters of it."""
    start = payload[:LONGEST]
    shown = repr(start) if isinstance(start, bytes) else start.replace("\n", "\\n")
    unit = "bytes" if isinstance(payload, bytes) else "characters"
    return shown if len(payload) <= LONGEST else f"{shown}… ({len(payload)} {unit})"


def _in_short(frame: str | bytes) -> str:
    """A frame of `qrsocket.v1`, its header before its body; the header - is left out."""
    header, body = split_frame(frame) or ("", frame)
    return f"{header} {in_short(body)}".removeprefix("- ").lstrip()
