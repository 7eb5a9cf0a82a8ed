"""What the example's assistant knows."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from worker.assistant import EMPTY, MOST_FOUND, NOTHING, find_answer
from worker.chat import MAX_TEXT
from worker.rows import Character, read_rows
from worker.sample import read_sample
from worker.store import SCHEMA, store

ALEF = "ℵ is ALEF SYMBOL, U+2135, a letter (Lo)."
SNOWMAN = "☃ is SNOWMAN, U+2603, a symbol (So)."


@pytest.fixture(scope="module")
def table() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as table:
        table.execute(SCHEMA)
        rows = read_rows("".join(read_sample()).splitlines(keepends=True))
        store(table, (row for row in rows if isinstance(row, Character)))
        yield table


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("@bot what is ℵ?", ALEF),
        ("@bot U+2135", ALEF),
        ("@bot u+2603, u+2135 and u+2135", f"{ALEF}\n{SNOWMAN}"),
        ("@bot ☃ or ℵ", f"{ALEF}\n{SNOWMAN}"),
        ("@bot", NOTHING),
        ("@bot is it ok", NOTHING),
        ("@bot qwertyuiop' OR 1=1 --", NOTHING),
        ("@bot U+10FFFF", NOTHING),
    ],
)
def test_answer(table: sqlite3.Connection, question: str, answer: str) -> None:
    """
    It knows characters by themselves and by their numbers.
    """
    assert answer == find_answer(table, question)


def test_names(table: sqlite3.Connection) -> None:
    """
    It knows some of those with a word of the question in their names, by the longest that is in any.
    """
    lines = find_answer(table, "@bot is there something like a snowman?").split("\n")

    assert lines[0] == SNOWMAN
    assert 1 < len(lines) <= MOST_FOUND
    assert all("SNOWMAN" in line for line in lines)


def test_short_enough(table: sqlite3.Connection) -> None:
    """
    An answer is as short as what people say.
    """
    ((longest,),) = table.execute("SELECT max(length(name)) FROM characters")

    assert (longest + 40) * MOST_FOUND < MAX_TEXT


def test_empty() -> None:
    """
    Without a table it says what to do.
    """
    with closing(sqlite3.connect(":memory:")) as table:
        table.execute(SCHEMA)
        assert EMPTY == find_answer(table, "@bot what is ℵ?")
