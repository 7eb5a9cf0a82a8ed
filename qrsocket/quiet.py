"""Keeps one client from filling the log: of lines that strangers can cause, some a minute are written."""

import logging

MOST_LINES = 20
SECONDS = 60.0
# Texts are constants, so that there are few; one that is made up for each event must not be kept for ever.
MOST_TEXTS = 1_000
# Facts of which there are few: the status of a refused handshake, the code of a close, the class of an error.
TOLD_APART = ("http_status", "code", "error")
# Whatever comes from outside before it is known from whom.
LOGGERS = (
    "asyncio",
    "uvicorn.error",
    "qrsocket.position",
    "qrsocket.server.connection",
    "qrsocket.server.endpoint",
    "qrsocket.server.handshake",
    "qrsocket.server.http_protocol",
    "qrsocket.server.noting",
    "qrsocket.server.opening",
    "qrsocket.server.protocol",
    "qrsocket.server.relay",
    "qrsocket.server.session",
    "qrsocket.signing",
)


class Quiet(logging.Filter):
    """
    Lets *most* warnings of one text through in so many *seconds*, and then says how many it has left out.

    What is below a warning passes. A text counts before its arguments are filled in. Each status, each close code and
    each type of exception counts apart: a flood of one does not hide another.
    """

    def __init__(self, most: int = MOST_LINES, seconds: float = SECONDS) -> None:
        super().__init__()
        self._most, self._seconds = most, seconds
        self._windows: dict[tuple[object, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        error = record.exc_info[0] if record.exc_info else None
        text = (record.name, str(record.msg)[:200], error, *(vars(record).get(fact) for fact in TOLD_APART))
        began, count = self._windows.get(text, (record.created, 0))
        if record.created - began < self._seconds:
            self._remember(text, began, count + 1)
            return count < self._most
        self._remember(text, record.created, 1)
        if count > self._most:
            record.msg = f"{record.msg} [{count - self._most} more of these were left out]"
        return True

    def forget(self) -> None:
        """Begin anew."""
        self._windows.clear()

    def _remember(self, text: tuple[object, ...], began: float, count: int) -> None:
        if len(self._windows) >= MOST_TEXTS:
            self._windows.clear()
        self._windows[text] = began, count


_quiet = Quiet()


def limit_floods() -> None:
    """Limit what strangers can write to the log, from now on: a node that starts has written nothing yet."""
    _quiet.forget()
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_quiet)  # the same one is added once
