"""What a client does with a close code: one table, for both sides and for the docs."""

import json
import re
from itertools import pairwise
from pathlib import Path

from qrsocket import CloseCode

ROOT = Path(__file__).parent.parent.parent
TABLE = json.loads((ROOT / "tests" / "wire" / "close_codes.json").read_text())
WORDS = {"returns": "comes back", "renews": "comes back", "returns_slowly": "stays away", "stays_away": "stays away"}


def client_does(code: int) -> str:
    (does,) = (row["client"] for row in TABLE if row["from"] <= code <= row["to"])
    return str(does)


def test_every_code_is_in_the_table_once() -> None:
    """
    The table says of every code from 1000 to 4999 what the client does.
    """
    assert (1000, 4999) == (TABLE[0]["from"], TABLE[-1]["to"])
    assert all(one["to"] + 1 == following["from"] for one, following in pairwise(TABLE))


def test_our_own_codes() -> None:
    """
    A client stays away only where trying again is useless.
    """
    final = {code for code in CloseCode if client_does(code) == "stays_away"}

    assert {CloseCode.NOT_AUTHENTICATED, CloseCode.REVOKED} == final
    assert "renews" == client_does(CloseCode.TOKEN_EXPIRED)
    assert {"returns_slowly"} == {client_does(CloseCode.TOO_MANY_CONNECTIONS), client_does(CloseCode.ABUSE)}


def test_the_docs_say_the_same() -> None:
    """
    docs/protocol.md has the same ranges, and each of our own codes.
    """
    page = (ROOT / "docs" / "protocol.md").read_text()
    ranges = re.findall(r"^\| (\d{4}) to (\d{4}) \| ([^;,|]+)", page, re.MULTILINE)
    codes = {int(code) for code in re.findall(r"^\| (\d{4}) \|", page, re.MULTILINE)}

    assert 6 == len(ranges)
    for first, last, words in ranges:
        assert all(WORDS[client_does(code)] in words for code in (int(first), int(last))), (first, words)
    assert set(CloseCode) == codes
