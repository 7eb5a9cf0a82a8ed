"""docs/testing.md, run as it stands."""

import re
from pathlib import Path

from qrsocket.testing import Client
from tests.testing.suites import run

DOCS = (Path(__file__).parent.parent.parent / "docs" / "testing.md").read_text()
FILES = {block[2 : block.index("\n")]: block for block in re.findall(r"```python\n(# .*?)```", DOCS, re.DOTALL)}


def test_the_suite(tmp_path: Path) -> None:
    """
    The suite of the page passes, without a warning.
    """
    assert {"tasks.py", "shop.py", "test_shop.py", "conftest.py", "test_faults.py"} == FILES.keys()
    assert len(FILES) == DOCS.count("```python")

    output = run(tmp_path, FILES)

    assert "7 passed" in output, output
    assert "warning" not in output.lower(), output


def test_the_names() -> None:
    """
    The table has every public name of a client, and no other.
    """
    table = DOCS[DOCS.index("| `send(message)`") : DOCS.index("- **No message is skipped")]
    named = {name for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)", cell)}

    assert {name for name in dir(Client) if not name.startswith("_")} - {"send_text"} == named
