"""
The form of each line in the log: what has happened, and the facts of it, in the text and in the record's `extra`.

    logger = Logger(__name__)
    logger.warning("lease not released: other nodes wait until it ends", node=name)

writes `lease not released: other nodes wait until it ends (node web1.3f9a01c2)`, and the record has a `node`.
docs/logs.md lists the names of facts. No fact is anything that a client has said, or that was sent.
"""

import logging
from typing import Any

# A log is read by the line.
MOST_SHOWN = 200


class Logger:
    """Writes by the logger of the standard library that has this name."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    @property
    def is_detailed(self) -> bool:
        """Whether lines at DEBUG are written."""
        return self._logger.isEnabledFor(logging.DEBUG)

    def debug(self, text: str, *args: object, **facts: object) -> None:
        self._write(logging.DEBUG, text, args, facts)

    def info(self, text: str, *args: object, **facts: object) -> None:
        self._write(logging.INFO, text, args, facts)

    def warning(self, text: str, *args: object, **facts: object) -> None:
        self._write(logging.WARNING, text, args, facts)

    def error(self, text: str, *args: object, exc_info: Any = None, **facts: object) -> None:
        self._write(logging.ERROR, text, args, facts, exc_info)

    def exception(self, text: str, *args: object, **facts: object) -> None:
        """Write an error, with the traceback of the one that is handled."""
        self._write(logging.ERROR, text, args, facts, exc_info=True)

    def _write(
        self, level: int, text: str, args: tuple[object, ...], facts: dict[str, object], exc_info: Any = None
    ) -> None:
        if not self._logger.isEnabledFor(level):
            return
        known = {name: value for name, value in facts.items() if value is not None and value != ""}
        if known:
            # What stands for a value is the same in all lines of a kind: by that they are counted, and grouped.
            text = f"{text} ({', '.join(f'{name} %s' for name in known)})"
        shown = map(in_one_line, known.values())
        # The line is of who has called: two functions before this.
        self._logger.log(level, text, *args, *shown, exc_info=exc_info, extra=known, stacklevel=3)


def in_one_line(value: object) -> str:
    """Return *value* as text that cannot be taken for another line, and is not long."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)[:MOST_SHOWN]
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)
