"""The example's table, and its uploads."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from qrsocket.celery import JobCancelled
from worker import store
from worker.rows import BadFile, Character

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


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store, "UPLOADS", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("end", "is_kept"),
    [(None, False), (BadFile("no"), False), (OSError(), False), (JobCancelled(), False), (SystemExit(), True)],
    ids=["done", "refused", "failed", "cancelled", "worker stopped"],
)
def test_upload_after_its_job(uploads: Path, end: BaseException | None, is_kept: bool) -> None:
    """
    An upload is removed when its job has ended, in whatever way, but not when its worker is stopped: it is run again.
    """
    (uploads / "a").write_text("content")

    with pytest.raises(type(end)) if end else nullcontext(), store.open_upload("a") as file:
        assert b"content" == file.read()
        if end:
            raise end

    assert is_kept == (uploads / "a").exists()


def test_no_upload(uploads: Path) -> None:
    """
    That a file is not here any more is told to its user.
    """
    with pytest.raises(BadFile, match="no longer here"), store.open_upload("a"):
        pass


def test_old_uploads(uploads: Path) -> None:
    """
    What no job has read within a day is removed.
    """
    for name, modified in (("old", 1000), ("new", 2000)):
        (uploads / name).touch()
        os.utime(uploads / name, (modified, modified))

    store.prune_uploads(1500 + store.UPLOAD_SECONDS)

    assert ["new"] == [path.name for path in uploads.iterdir()]
