"""What is said in the room. In a file of its own, so that nobody who writes to the room waits for an import."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from worker.store import DATA

ROOM = "room:team"
# No user can have this name: theirs begin with a letter or a digit.
BOT = "@bot"
MAX_TEXT = 1000
# With the longest texts these fit into one message, which takes 256 KiB.
MOST_ASKED = 50

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS said (id INTEGER PRIMARY KEY AUTOINCREMENT, who TEXT NOT NULL, key TEXT NOT NULL,"
    " text TEXT NOT NULL, at REAL NOT NULL, UNIQUE (who, key))"
)
LOCK_TIMEOUT = 5


@dataclass(frozen=True, slots=True)
class Said:
    """
    Attributes:
        id: Grows with each, and says their order.
        key: Chosen by who says it, and known to the page before the id is.
        at: Unix time in seconds.
    """

    id: int
    who: str
    key: str
    text: str
    at: float


def keep(who: str, key: str, text: str, at: float) -> Said:
    """Keep it once, however often it is said under its *key*. Returns what is kept."""
    with _open() as chat, chat:
        chat.execute("INSERT OR IGNORE INTO said (who, key, text, at) VALUES (?, ?, ?, ?)", (who, key, text, at))
        return Said(*chat.execute("SELECT * FROM said WHERE who = ? AND key = ?", (who, key)).fetchone())


def last() -> list[Said]:
    """Return what was said last, the oldest first."""
    with _open() as chat:
        rows = chat.execute("SELECT * FROM said ORDER BY id DESC LIMIT ?", (MOST_ASKED,)).fetchall()
    return [Said(*row) for row in reversed(rows)]


@contextmanager
def _open() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(DATA / "chat.sqlite", timeout=LOCK_TIMEOUT)) as chat:
        chat.execute("PRAGMA journal_mode = WAL")
        chat.execute(SCHEMA)
        yield chat
