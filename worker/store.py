"""What the example keeps, in one folder that all its processes share: uploads, and a table of characters in SQLite."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from qrsocket.celery import JobCancelled
from worker.rows import BadFile, Character

DATA = Path(os.environ.get("EXAMPLE_DATA", "var")).absolute()
UPLOADS = DATA / "uploads"

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS characters"
    " (code_point INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, direction TEXT NOT NULL)"
)
UPLOAD_SECONDS = 24 * 3600
# Seconds to wait for another worker's transaction.
LOCK_TIMEOUT = 60


@contextmanager
def open_upload(name: str) -> Iterator[BinaryIO]:
    """
    Open an upload for a job, and remove it when the job has ended, in whatever way.

    Raises:
        BadFile: It is not here, or not any more.
    """
    path = UPLOADS / name
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise BadFile("The file is no longer here. Import it again.") from None
    try:
        with file:
            yield file
    except (Exception, JobCancelled):
        path.unlink(missing_ok=True)
        raise
    # Not in a `finally`: a worker that is stopped here (SystemExit) gives the job back, and whoever runs it again needs
    # the file. Missing where it was delivered twice, and the other was quicker.
    path.unlink(missing_ok=True)


def prune_uploads(now: float) -> None:
    """Remove those that are older than a day. *now* is Unix time."""
    for path in UPLOADS.iterdir():
        with suppress(FileNotFoundError):
            if now - path.stat().st_mtime > UPLOAD_SECONDS:
                path.unlink()


@contextmanager
def open_table() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(DATA / "characters.sqlite", timeout=LOCK_TIMEOUT)) as table:
        table.execute("PRAGMA journal_mode = WAL")  # so that who reads does not wait for who writes
        table.execute(SCHEMA)
        yield table


def store(table: sqlite3.Connection, characters: Iterable[Character]) -> None:
    """Store all of them or, after an error, none. One that is there already is replaced."""
    with table:
        table.executemany(
            "INSERT OR REPLACE INTO characters VALUES (:code_point, :name, :category, :direction)",
            [character.model_dump() for character in characters],
        )


def count(table: sqlite3.Connection) -> int:
    (rows,) = table.execute("SELECT count(*) FROM characters").fetchone()
    return int(rows)
