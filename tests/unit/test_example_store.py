"""The example's table."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker import store
from worker.rows import Character

ROWS = {"code_point": "U+0041", "name": "A", "category": "Lu", "direction": "L"}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    monkeypatch.setattr(store, "DATA", tmp_path)
    with store.open_table() as table:
        yield table


def test_stored_twice(table: sqlite3.Connection) -> None:
    """
    A character that is stored again is there once, as it was stored last.
    """
    store.store(table, [Character.model_validate(ROWS)])
    store.store(table, [Character.model_validate({**ROWS, "name": "LATIN CAPITAL LETTER A"})])

    assert 1 == store.count(table)
    assert [(0x41, "LATIN CAPITAL LETTER A", "Lu", "L")] == table.execute("SELECT * FROM characters").fetchall()


def test_read_while_written(table: sqlite3.Connection) -> None:
    """
    Who reads does not wait for who writes, and sees what was there before.
    """
    table.execute("BEGIN IMMEDIATE")
    table.execute("INSERT INTO characters VALUES (65, 'A', 'Lu', 'L')")

    with store.open_table() as reader:
        assert 0 == store.count(reader)
