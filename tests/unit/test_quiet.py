"""Of lines that strangers can cause, some a minute are written."""

import logging
from typing import Any

from qrsocket.quiet import MOST_TEXTS, Quiet


def record(at: float, text: str = "flood of %s", level: int = logging.WARNING, **fields: Any) -> logging.LogRecord:
    values = {"name": "n", "levelno": level, "msg": text, "args": ("pings",), "created": at} | fields
    return logging.makeLogRecord(values)


def test_what_is_left_out_is_counted() -> None:
    """
    So many lines of one text are written in a minute; the first of a later minute says how many were not.
    """
    quiet = Quiet(most=2, seconds=60)
    lines = [record(at) for at in (0, 1, 2, 3, 59.9, 60, 61)]

    written = [line.getMessage() for line in lines if quiet.filter(line)]

    assert [
        "flood of pings",
        "flood of pings",
        "flood of pings [3 more of these were left out]",
        "flood of pings",
    ] == written


def test_texts_do_not_hide_each_other() -> None:
    """
    Another text, another logger, another exception, status, close code and class of an error are counted apart.
    """
    quiet = Quiet(most=1, seconds=60)
    error = (ValueError, ValueError(), None)
    lines = [record(0), record(0, "another"), record(0, name="m"), record(0, exc_info=error)]
    lines += [record(0, http_status=401), record(0, code=4100), record(0, error="InvalidToken"), record(0, code=4103)]

    assert [True] * 8 == [quiet.filter(line) for line in lines]
    assert [False] * 2 == [quiet.filter(line) for line in (record(0), record(0, code=4103))]


def test_what_is_no_warning_passes() -> None:
    """
    Lines below a warning are as many as there are.
    """
    quiet = Quiet(most=1, seconds=60)

    assert [True] * 3 == [quiet.filter(record(0, level=logging.INFO)) for _ in range(3)]


def test_a_new_beginning() -> None:
    """
    What was written before a node starts is not counted.
    """
    quiet = Quiet(most=1, seconds=60)

    assert [True, False] == [quiet.filter(record(0)) for _ in range(2)]
    quiet.forget()
    assert quiet.filter(record(0))


def test_texts_that_are_made_up_are_forgotten() -> None:
    """
    A text that is another one each time takes no memory without end.
    """
    quiet = Quiet()
    for number in range(3 * MOST_TEXTS):
        quiet.filter(record(0, f"number {number}"))

    assert len(quiet._windows) <= MOST_TEXTS
