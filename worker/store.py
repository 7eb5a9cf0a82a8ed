"""What the example keeps, in one folder that all its processes share: uploads, and a table of characters in SQLite."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from worker.rows import Character

DATA = Path(os.environ.get("EXAMPLE_DATA", "var")).absolute()
UPLOADS = DATA / "uploads"

# Seconds to wait for another worker's transaction.
LOCK_TIMEOUT = 20


@contextmanager
def open_table() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(DATA / "characters.sqlite", timeout=LOCK_TIMEOUT)) as table:
        table.execute("PRAGMA journal_mode = WAL")  # so that who reads does not wait for who writes
        table.execute(
            "CREATE TABLE IF NOT EXISTS characters"
            " (code_point INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, direction TEXT NOT NULL)"
        )
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
