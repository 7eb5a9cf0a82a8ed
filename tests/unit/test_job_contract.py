"""What is known of a job stands in several places, in several languages: all of them say the same."""

import re
from dataclasses import fields
from pathlib import Path

from qrsocket.jobs.table import State
from qrsocket.server.jobs import JobShown
from qrsocket.testing.jobs import ENDED, Job

ROOT = Path(__file__).parent.parent.parent
SCRIPT = (ROOT / "qrsocket/jobs/job.lua").read_text()
TYPES = (ROOT / "qrsocket/browser/client.d.ts").read_text()
CLIENT = (ROOT / "qrsocket/browser/client.js").read_text()
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
JOBS = (ROOT / "docs/jobs.md").read_text()

FIELDS = set(JobShown.model_fields)


def between(text: str, before: str, after: str) -> str:
    """Return what stands in *text* between two marks, of which the first is there once."""
    assert 1 == text.count(before), f"{before!r} is there {text.count(before)} times"
    return text.partition(before)[2].partition(after)[0]


def in_lua(table: str) -> set[str]:
    return set(re.findall(r"(\w+) = true", between(SCRIPT, f"local {table} = {{", "}")))


def test_its_fields() -> None:
    """
    What the script writes, the API describes, the client's types, the test kit and the protocol's page have.
    """
    written = re.findall(r"(\w+) = ", between(SCRIPT, "local text = cjson.encode({", "})"))
    assert {*written, "result"} == FIELDS
    assert FIELDS == {field.name for field in fields(Job)}
    assert FIELDS == set(re.findall(r"^  (\w+)\??:", between(TYPES, "export interface Job<", "\n}"), re.MULTILINE))
    assert FIELDS == set(re.findall(r'"(\w+)"', between(PROTOCOL, "A job is `{", "}`")))


def test_its_states() -> None:
    """
    So it is with the states, and with those in which it is over.
    """
    states = {state.value for state in State}

    assert states == in_lua("OVER") | in_lua("WAITS") | {"started"}
    assert states == set(re.findall(r'"(\w+)"', between(TYPES, "export type JobState =", ";")))
    assert states <= set(re.findall(r"`(\w+)`", JOBS))
    assert ENDED == in_lua("OVER")
    assert ENDED == set(between(CLIENT, "return /^(", ")$/.test(job?.state)").split("|"))
