"""
Unicode's character table as CSV, from Python's own copy of it: `python -m worker.sample > characters.csv`

The 65 control characters are in it and have no name, so that the import has something to reject.
"""

import csv
import io
import sys
import unicodedata
from collections.abc import Iterator

from worker.rows import COLUMNS

PART_SIZE = 100_000


def read_sample() -> Iterator[str]:
    """Return the table, about 5 MB, in parts of many lines."""
    part = io.StringIO()
    writer = csv.writer(part)
    writer.writerow(COLUMNS)
    for code_point in range(sys.maxunicode + 1):
        character = chr(code_point)
        name, category = unicodedata.name(character, ""), unicodedata.category(character)
        if name or category == "Cc":
            writer.writerow((f"U+{code_point:04X}", name, category, unicodedata.bidirectional(character)))
        if part.tell() > PART_SIZE:
            yield part.getvalue()
            part.seek(0)
            part.truncate()
    yield part.getvalue()


if __name__ == "__main__":
    sys.stdout.writelines(read_sample())
