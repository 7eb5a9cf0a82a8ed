"""What the example keeps of what is said."""

import sqlite3
from pathlib import Path

import pytest

from qrsocket import Settings
from qrsocket.message import encode
from worker import chat
from worker.chat import MAX_TEXT, MOST_ASKED, keep, last


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(chat, "DATA", tmp_path)
    return tmp_path


def test_said_twice() -> None:
    """
    What is said again under its key is kept once, as it was first said; a key is its user's own.
    """
    first = keep("Ada", "k", "hello", 1)
    again, others = keep("Ada", "k", "hello?", 2), keep("Grace", "k", "hi", 3)

    assert first == again
    assert [first, others] == last()
    assert first.id < others.id


def test_the_last() -> None:
    """
    The last ones are asked for, oldest first. With the longest texts they fit into one message.
    """
    for number in range(MOST_ASKED + 5):
        keep("U" * 32, f"{number:032}", "🙂" * MAX_TEXT, number)

    said = last()

    assert [*range(5, MOST_ASKED + 5)] == [one.at for one in said]
    encode(said, limit_bytes=Settings().max_message_out_bytes)


def test_not_held_up_by_an_import(folder: Path) -> None:
    """
    It is kept while an import writes to the table of characters.
    """
    with sqlite3.connect(folder / "characters.sqlite") as table:
        table.execute("BEGIN EXCLUSIVE")
        assert [keep("Ada", "k", "hello", 1)] == last()
    table.close()
