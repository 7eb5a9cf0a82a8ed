"""What the tasks of `tests.processes.shapes` noted."""

import json
from uuid import uuid4

from tests.clients import PATIENCE
from tests.processes.shapes import notebook


class Page:
    """The notes that tasks make for one test."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or uuid4().hex

    def run(self, *words: str) -> str:
        return "/".join((self.name, *words))

    def read(self, count: int) -> dict[str, list[tuple[str, str]]]:
        """
        Wait for *count* different notes, and return all that were made.

        Returns:
            For each run, what was noted: label, and whom the task ran for.
        """
        notes: list[str] = []
        while len(set(notes)) < count and (note := notebook().blpop([f"notes:{self.name}"], timeout=PATIENCE)):
            notes.append(note[1])
        notes += notebook().lrange(f"notes:{self.name}", 0, -1)
        runs: dict[str, list[tuple[str, str]]] = {}
        for run, label, whom in map(json.loads, notes):
            runs.setdefault(run.removeprefix(f"{self.name}/"), []).append((label, whom))
        return {run: sorted(noted) for run, noted in runs.items()}
