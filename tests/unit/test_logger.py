"""What a line of the log looks like, and what it may say."""

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrsocket.logger import MOST_SHOWN, Logger

ROOT = Path(__file__).parent.parent.parent
LEVELS = ("debug", "info", "warning", "error", "exception")
logger = Logger("qrsocket.tests")


def test_facts_are_in_the_text_and_in_extra(caplog: pytest.LogCaptureFixture) -> None:
    """
    A fact is at the end of the text and an attribute of the record; one that is not known is in neither.
    """
    caplog.set_level(logging.DEBUG, "qrsocket")

    logger.warning("lease of %s not released", "web1", node="web1.3f", user=None, reason="", offset=0, seconds=0.12345)

    (record,) = caplog.records
    assert "lease of web1 not released (node web1.3f, offset 0, seconds 0.1235)" == record.getMessage()
    assert ("web1.3f", 0, 0.12345) == (record.node, record.offset, record.seconds)  # type: ignore[attr-defined]
    assert not hasattr(record, "user")
    assert not hasattr(record, "reason")


def test_a_line_without_facts(caplog: pytest.LogCaptureFixture) -> None:
    """
    It is the text, also with a percent sign.
    """
    logger.error("100% lost")

    assert ["100% lost"] == caplog.messages


def test_lines_of_a_kind_are_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """
    But for what is filled in, so that they can be counted and grouped.
    """
    for user in ("alice", "50%"):
        logger.warning("gap told", user=user)

    assert ["gap told (user %s)"] * 2 == [record.msg for record in caplog.records]
    assert ["gap told (user alice)", "gap told (user 50%)"] == caplog.messages


def test_nobody_forges_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """
    What a fact holds cannot begin a line of its own, nor fill the log.
    """
    logger.warning("topic refused", user="eve\nERROR node died\x1b[0m", topic="a" * 1_000)

    (message,) = caplog.messages
    assert message.startswith("topic refused (user eve?ERROR node died?[0m, topic a")
    assert len(message) < MOST_SHOWN + 100


def test_the_place_is_the_callers(caplog: pytest.LogCaptureFixture) -> None:
    """
    The file and the function of a record are of who has written it; so is the traceback.
    """
    caplog.set_level(logging.DEBUG, "qrsocket")
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("it failed", node="n")
    logger.debug("and again")

    assert {(__name__.rpartition(".")[2], "test_the_place_is_the_callers")} == {
        (record.module, record.funcName) for record in caplog.records
    }
    assert "ValueError: why" in caplog.text


def test_what_is_not_written_costs_nothing() -> None:
    """
    Facts are not made into text for a level that is off.
    """

    class Costly:
        def __str__(self) -> str:
            raise AssertionError

    logging.getLogger("qrsocket.tests").setLevel(logging.WARNING)
    try:
        assert not logger.is_detailed
        logger.debug("%s", Costly(), user=Costly())
    finally:
        logging.getLogger("qrsocket.tests").setLevel(logging.NOTSET)


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield each line that the library may write, and where."""
    for path in sorted((ROOT / "qrsocket").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                value = node.func.value
                if isinstance(value, ast.Name) and value.id == "logger":
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def documented_facts() -> set[str]:
    page = (ROOT / "docs" / "logs.md").read_text()
    table = page[page.index("| fact |") :].partition("\n\n")[0]
    return {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_names_of_facts_are_documented() -> None:
    """
    Each fact that a line names is in the table of docs/logs.md, and no record has that attribute already.
    """
    documented = documented_facts()
    named = {(keyword.arg, where) for where, call in calls() for keyword in call.keywords if keyword.arg} - {
        ("exc_info", where) for where, _ in calls()
    }

    assert len(named) > 50
    assert set() == {(name, where) for name, where in named if name not in documented}
    assert set() == documented & {*vars(logging.makeLogRecord({})), "message", "asctime"}


def test_lines_have_one_form() -> None:
    """
    Nobody writes by the standard library's logger, whose lines have no facts in the text.
    """
    others = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "qrsocket").rglob("*.py"))
        if re.search(r"^logger = logging", path.read_text(), re.MULTILINE)
    ]

    # uvicorn's, and one that shows what processes of a test write.
    assert ["qrsocket/cli/serving.py", "qrsocket/testing/processes.py"] == others
