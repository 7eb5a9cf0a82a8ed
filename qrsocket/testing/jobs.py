"""What a client has been told of the jobs of its user."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

ENDED = frozenset({"succeeded", "failed", "timeout", "cancelled", "lost"})


@dataclass(frozen=True, slots=True)
class Job:
    """
    A job as its user sees it; see docs/protocol.md. What was not told is None.

    Attributes:
        state: queued, waiting, started, retrying, requeued; at its end succeeded, failed, timeout, cancelled, lost.
        seq: Grows with each change of this job.
        result: What the task shows of it, not what it returns.
        result_omitted: Why it is not shown: "too_large", "failed" or "listed".
        error: Text meant for the user.
    """

    id: str
    task: str
    state: str
    seq: int
    title: str | None = None
    attempt: int | None = None
    place: int | None = None
    done: float | None = None
    total: float | None = None
    percent: int | None = None
    message: str | None = None
    cancelling: bool | None = None
    result: Any = None
    result_omitted: str | None = None
    error: str | None = None
    reason: str | None = None
    chunks: int | None = None
    queued_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @staticmethod
    def read(told: Mapping[str, Any]) -> "Job":
        """Read what the server has told; fields that a newer one adds are left out."""
        return Job(**{name: told[name] for name in FIELDS & told.keys()})


FIELDS = frozenset(field.name for field in fields(Job))


class Jobs:
    """
    Attributes:
        newest: By job id, what was told last: that with the highest `seq`.
    """

    def __init__(self) -> None:
        self.newest: dict[str, Job] = {}
        self._told: list[Job] = []
        self._pieces: dict[str, dict[int, str]] = {}

    def tell(self, job: Job) -> None:
        known = self.newest.get(job.id)
        self._told.append(job)
        if known is None or job.seq >= known.seq:
            self.newest[job.id] = job

    def in_state(self, id: str, states: tuple[str, ...]) -> Job | None:
        """Return the job as it was told when it was first in one of *states*; None if it never was."""
        return next((job for job in self._told if job.id == id and job.state in states), None)

    def ended(self, id: str) -> Job | None:
        job = self.newest.get(id)
        return job if job is not None and job.has_ended else None

    def write(self, id: str, number: int, text: str) -> None:
        self._pieces.setdefault(id, {})[number] = text

    def text(self, id: str) -> str:
        """Return what a job has written with `job.stream()`, as far as it was told."""
        return "".join(text for _, text in sorted(self._pieces.get(id, {}).items()))
