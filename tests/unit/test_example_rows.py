"""What the example takes for a CSV file of characters, and how it says what it does not take."""

import io
import unicodedata

import pytest

from worker.rows import BadFile, Character, Rejected, read_rows
from worker.sample import read_sample

HEADER = "code_point,name,category,direction\n"
A = Character.model_validate({"code_point": "U+0041", "name": "A", "category": "Lu", "direction": "L"})


def read(content: str | bytes) -> list[Character | Rejected]:
    binary = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(io.TextIOWrapper(binary, "utf-8-sig", newline="")))


@pytest.mark.parametrize(
    "content",
    [
        HEADER + "U+0041,A,Lu,L\n",
        HEADER + "U+0041,A,Lu,L",
        "\ufeff\n" + HEADER + "\n" + "U+0041,A,Lu,L\n\n",
        HEADER.replace("\n", "\r\n") + '"U+0041","A",Lu,L\r\n',
        "Name, Code_Point ,note,direction,category\nA,U+0041,whatever,L,Lu\n",
    ],
    ids=["plain", "no line end", "mark and blank lines", "windows", "other columns"],
)
def test_character(content: str) -> None:
    """
    Columns are found by their names; line ends, a byte order mark and blank lines do not matter.
    """
    assert [A] == read(content)


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        ("U+0041,,Lu,L", ["name: String should have at least 1 character"]),
        ("U+110000,A,Lu,L", ["code_point: Should be a code point such as U+0041, up to U+10FFFF"]),
        ("U+0x41,A,Lu,L", ["code_point: Should be a code point such as U+0041, up to U+10FFFF"]),
        ("41,A,x,L", ["code_point: Should be a code point such as U+0041, up to U+10FFFF", "category: String"]),
        ("U+0041,A,Lu", ["4 cells expected, 3 found"]),
        ("U+0041,A,Lu,L,more", ["4 cells expected, 5 found"]),
    ],
)
def test_rejected(row: str, reasons: list[str]) -> None:
    """
    A row that is no character is told with its line and every reason; those after it are read.
    """
    rejected, last = read(HEADER + row + "\nU+0041,A,Lu,L\n")

    assert isinstance(rejected, Rejected)
    assert 2 == rejected.line
    assert len(reasons) == len(rejected.reasons)
    assert all(reason.startswith(start) for reason, start in zip(rejected.reasons, reasons, strict=True))
    assert last == A


def test_line_of_a_rejected_row() -> None:
    """
    The line is where the row begins in the file, although blank lines and cells of several lines came before it.
    """
    rows = read(HEADER + '\nU+0041,"A\nB",Lu,L\nU+0000,,Cc,BN\n')

    assert [Rejected(5, ["name: String should have at least 1 character"])] == rows[1:]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "The file is empty."),
        (b"\n\n", "The file is empty."),
        (b"first,last\nAda,Lovelace\n", "It lacks code_point, name, category, direction."),
        (b"code_point;name;category;direction\n", "The first line should name the columns"),
        (HEADER.encode() + b"U+0041,\xe9,Lu,L\n", "Not UTF-8 text"),
        (b"PK\x03\x04\x14\x00\x06\x00\xff\xff", "Not UTF-8 text"),
        (HEADER.encode() + b'U+0041,"A,Lu,L\n', "Not CSV, in line 2: unexpected end of data."),
        (HEADER.encode() + b"U+0041," + b"A" * 200_000, "Not CSV, in line 2: field larger than field limit"),
    ],
    ids=["nothing", "blank", "another table", "semicolons", "Latin-1", "a workbook", "an open quote", "a huge cell"],
)
def test_bad_file(content: bytes, told: str) -> None:
    """
    A file that is not ours is refused in words that say what to do.
    """
    with pytest.raises(BadFile) as refused:
        read(content)

    assert told in str(refused.value)


def test_sample() -> None:
    """
    The sample is Unicode's table: every row is a character, but for the control characters, which have no names.
    """
    rows = read("".join(read_sample()))

    characters = [row for row in rows if isinstance(row, Character)]
    assert len(rows) - 65 == len(characters)
    assert {"ℵ": "ALEF SYMBOL", "🙂": "SLIGHTLY SMILING FACE"}.items() <= {
        chr(character.code_point): character.name for character in characters
    }.items()
    assert all(unicodedata.name(chr(character.code_point)) == character.name for character in characters)
