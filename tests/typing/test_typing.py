"""What the type checkers say to a developer who uses the verbs, rightly and wrongly."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
RIGHT, WRONG = FOLDER / "right.py", FOLDER / "wrong.py"

Errors: TypeAlias = dict[Path, dict[int, list[str]]]

# A checker that has no cache yet reads the whole of its world first.
pytestmark = pytest.mark.timeout(300)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)


def mypy() -> Errors:
    ended = run("mypy", "--strict", "--follow-imports=silent", "--output=json", str(RIGHT), str(WRONG))
    assert "" == ended.stderr, ended.stderr
    errors: Errors = {RIGHT: {}, WRONG: {}}
    for line in ended.stdout.splitlines():
        found = json.loads(line)
        if found["severity"] == "error":
            errors[ROOT / found["file"]].setdefault(found["line"], []).append(found["message"])
    return errors


def pyright() -> Errors:
    ended = run("pyright", "--outputjson", "--pythonpath", sys.executable, str(RIGHT), str(WRONG))
    assert ended.stdout, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    assert 2 == answer["summary"]["filesAnalyzed"], ended.stdout
    errors: Errors = {RIGHT: {}, WRONG: {}}
    for found in answer["generalDiagnostics"]:
        if found["severity"] == "error":
            errors[Path(found["file"])].setdefault(found["range"]["start"]["line"] + 1, []).append(found["message"])
    return errors


@pytest.fixture(scope="module", params=[mypy, pyright], ids=lambda checker: checker.__name__)
def errors(request: pytest.FixtureRequest) -> Errors:
    """What a checker says, by file and line."""
    found: Errors = request.param()
    return found


def test_right_uses_are_clean(errors: Errors) -> None:
    """
    What the documentation shows has no errors.
    """
    assert {} == errors[RIGHT]


def test_each_mistake_is_found(errors: Errors) -> None:
    """
    A forgotten await, one too many, an async verb in blocking code and a wrong message are errors; nothing else is.
    """
    lines = WRONG.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}

    missed = {number: lines[number - 1].strip() for number in sorted(marked - set(errors[WRONG]))}
    unexpected = {number: said for number, said in errors[WRONG].items() if number not in marked}

    assert ({}, {}) == (missed, unexpected)
