"""How an import goes, as its user is told: first and last always, in between ten times a second at most."""

import time
from collections.abc import Iterable
from contextlib import suppress

from qrsocket import Unavailable
from qrsocket.sync import socket
from worker.rows import Character, Rejected

INTERVAL = 0.1
MAX_SHOWN = 100


class Report:
    def __init__(self, id: str, file: str, size_bytes: int) -> None:
        self.stored = 0
        self._id, self._file, self._size_bytes = id, file, size_bytes
        self._read_bytes = 0
        self._rejected = 0
        self._shown: list[Rejected] = []
        self._told_at = 0.0

    def begin(self) -> None:
        self._tell("running")

    def add(self, rows: Iterable[Character | Rejected], read_bytes: int) -> None:
        """Count *rows*, of which the good ones are stored. *read_bytes* is how far in the file we are."""
        for row in rows:
            if isinstance(row, Character):
                self.stored += 1
                continue
            self._rejected += 1
            if len(self._shown) < MAX_SHOWN:
                self._shown.append(row)
        self._read_bytes = read_bytes
        if time.monotonic() - self._told_at >= INTERVAL:
            self._tell("running")

    def end(self) -> None:
        self._read_bytes = self._size_bytes
        self._tell("done", rows=self._shown)

    def refuse(self, reason: str) -> None:
        self._tell("refused", rows=self._shown, reason=reason)

    def _tell(self, state: str, **more: object) -> None:
        # Each message says everything, so that a page that was opened meanwhile needs no earlier one.
        numbers = {"percent": self._percent, "stored": self.stored, "rejected": self._rejected}
        with suppress(Unavailable):  # the import matters more than the telling
            socket.send({"import": {"id": self._id, "file": self._file, "state": state, **numbers, **more}})
        self._told_at = time.monotonic()

    @property
    def _percent(self) -> int:
        return 100 * self._read_bytes // max(self._size_bytes, 1)
