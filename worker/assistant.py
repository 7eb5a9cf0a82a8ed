"""What the assistant says: what the table of characters knows of a question. Knows no room, and sends nothing."""

import re
import sqlite3

MOST_FOUND = 5
MOST_WORDS = 5
NOTHING = (
    "The table has nothing of that. Ask me for a character, such as ℵ, or for a word in its name, such as snowman."
)
EMPTY = "The table of characters is empty. Import the sample, then ask me again."

CATEGORIES = {
    "L": "a letter",
    "M": "a mark",
    "N": "a number",
    "P": "punctuation",
    "S": "a symbol",
    "Z": "a separator",
    "C": "for control",
}


def find_answer(table: sqlite3.Connection, question: str) -> str:
    """Look for characters that *question* shows (ℵ), numbers (U+2135), or names a part of (alef)."""
    asked = {ord(character) for character in question if ord(character) > 127}
    asked |= {int(number, 16) for number in re.findall(r"U\+([0-9A-F]{4,6})\b", question, re.IGNORECASE)}
    found = [row for code_point in sorted(asked) for row in _rows(table, "code_point = ?", code_point)]
    if not found:
        words = sorted(re.findall(r"(?<![@\w])[A-Z]{3,}\b", question.upper()), key=len, reverse=True)[:MOST_WORDS]
        found = next(filter(None, (_rows(table, "instr(name, ?)", word) for word in words)), [])
    if found:
        return "\n".join(_described(*row) for row in found[:MOST_FOUND])
    return NOTHING if _rows(table, "1") else EMPTY


def _rows(table: sqlite3.Connection, condition: str, *values: object) -> list[tuple[int, str, str]]:
    # The conditions are those above, and values go beside them.
    query = f"SELECT code_point, name, category FROM characters WHERE {condition} LIMIT {MOST_FOUND}"  # noqa: S608
    return table.execute(query, values).fetchall()


def _described(code_point: int, name: str, category: str) -> str:
    return f"{chr(code_point)} is {name}, U+{code_point:04X}, {CATEGORIES[category[0]]} ({category})."
