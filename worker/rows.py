"""The rows of a CSV file: which one is a character of Unicode, and why another is not. Knows no files, no tables."""

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from qrsocket import SocketError

MAX_REASON = 200
CODE_POINT = re.compile(r"U\+([0-9A-F]{4,6})")


class BadFile(SocketError):
    """Raised for a file that is not what we import. Its text is told to the user."""


def _code_point(text: str) -> int:
    match = CODE_POINT.fullmatch(text)
    if match is None or (value := int(match[1], 16)) > sys.maxunicode:
        raise PydanticCustomError("code_point", "Should be a code point such as U+0041, up to U+10FFFF")
    return value


class Character(BaseModel):
    """
    Source: https://www.unicode.org/reports/tr44/ (UnicodeData.txt; the categories of its section 5.7.1)
    """

    code_point: Annotated[int, BeforeValidator(_code_point)]
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    category: Annotated[str, StringConstraints(pattern=r"^[CLMNPSZ][a-z]$")]
    direction: Annotated[str, StringConstraints(pattern=r"^[A-Z]{1,3}$")]


COLUMNS = tuple(Character.model_fields)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is not a character: where it begins in the file, from line 1, and what is wrong with it."""

    line: int
    reasons: list[str]


def read_rows(lines: Iterable[str]) -> Iterator[Character | Rejected]:
    """
    Read what follows the line with the names of the columns. Their order is free, and others are passed over.

    Raises:
        BadFile: It is empty, not UTF-8, not CSV, or lacks a column.
    """
    reader = csv.reader(lines, strict=True)
    try:
        columns = [column.strip().lower() for column in next(filter(None, reader), [])]
        _check(columns)
        line = reader.line_num + 1
        for cells in reader:
            if cells:  # a blank line has none
                yield _read_row(line, columns, cells)
            line = reader.line_num + 1
    except UnicodeDecodeError:
        raise BadFile(f"Not UTF-8 text, after line {reader.line_num}. Save it as “CSV UTF-8”.") from None
    except csv.Error as error:
        raise BadFile(f"Not CSV, in line {reader.line_num}: {error}.") from None


def _check(columns: list[str]) -> None:
    if not columns:
        raise BadFile("The file is empty.")
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        wanted, lacking = ", ".join(COLUMNS), ", ".join(missing)
        raise BadFile(f"The first line should name the columns {wanted}. It lacks {lacking}.")


def _read_row(line: int, columns: list[str], cells: list[str]) -> Character | Rejected:
    if len(cells) != len(columns):
        return Rejected(line, [f"{len(columns)} cells expected, {len(cells)} found"])
    try:
        return Character.model_validate(dict(zip(columns, cells, strict=True)))
    except ValidationError as error:
        return Rejected(line, [f"{part['loc'][0]}: {part['msg']}"[:MAX_REASON] for part in error.errors()])
