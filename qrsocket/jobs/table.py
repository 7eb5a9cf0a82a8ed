"""The jobs in Redis, each in the hands of its owner: every operation on them, as a `Call`."""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from qrsocket.keys import Keys, fit
from qrsocket.roundtrip import Argument, Call, Script, script_call
from qrsocket.settings import Settings
from qrsocket.streams import Stream

# One call with 100 jobs holds Redis up for about 2 ms.
REAP_BATCH = 100
# Of what a job writes, so much is kept.
MOST_CHUNK_BYTES = 1024 * 1024
# In one reading: each may have 32 KiB.
PIECES = 20


class State(StrEnum):
    """Where a job is. Each is told once each time that it is entered."""

    QUEUED = "queued"
    WAITING = "waiting"
    STARTED = "started"
    RETRYING = "retrying"
    REQUEUED = "requeued"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    LOST = "lost"


class Omitted(StrEnum):
    """Why the result of a job that succeeded is not shown, though its task shows results."""

    TOO_LARGE = "too_large"  # over 64 KiB
    FAILED = "failed"  # it is no JSON, or `result=` has raised
    LISTED = "listed"  # one of many: it is there when its job is asked for alone


class Answer(StrEnum):
    """What a script answers."""

    OK = "OK"
    OVER = "OVER"
    STALE = "STALE"
    CANCEL = "CANCEL"
    UNKNOWN = "UNKNOWN"


class JobKey(NamedTuple):
    """
    What a job is found by.

    Attributes:
        owner: Who queued it. Nobody else's jobs can be named with it.
        id: Celery's id of the task or, where a caller chose one that is long or odd, a digest of it.
    """

    owner: Stream
    id: str

    @staticmethod
    def of(owner: Stream, task_id: str) -> "JobKey":
        return JobKey(owner, fit(task_id))


class Advanced(NamedTuple):
    """
    What became of an event.

    Attributes:
        fence: Counts the runs of the job.
        job: As its owner sees it; None if there is no such job.
    """

    answer: Answer
    fence: int
    job: dict[str, Any] | None


class Overdue(NamedTuple):
    """
    What was decided about jobs that nothing was heard of.

    Attributes:
        more: There may be others.
        jobs: Owner and job, as its owner sees it.
    """

    more: bool
    jobs: tuple[tuple[Stream, dict[str, Any]], ...]


class Beat(NamedTuple):
    """A sign of life of a run, and how far it is: `done`, `total` and `message`, if that has changed."""

    key: JobKey
    run: str
    progress: Mapping[str, Any] | None


class Jobs(NamedTuple):
    """The jobs of one shard."""

    keys: Keys
    settings: Settings

    def advance(self, event: str, key: JobKey, said: Mapping[str, Any] | None = None) -> Call[Advanced]:
        """Describe an event in the life of a job: `queued`, `started`, `ended`, `cancel` … See advance.lua."""
        told = {name: value for name, value in (said or {}).items() if value is not None}
        return self.call("advance", [event, *key, to_json(told)], _parse_advanced)

    def beat(self, beats: Sequence[Beat]) -> Call[list[Answer]]:
        """Describe the renewal of the leases of runs; run, it says of each OK, CANCEL, STALE or UNKNOWN."""
        args: list[Argument] = []
        for key, run, progress in beats:
            told = {name: value for name, value in (progress or {}).items() if value is not None}
            args += [*key, run, to_json(told) if told else b""]
        return self.call("beat", args, lambda reply: [Answer(word.decode()) for word in reply])

    def reap(self) -> Call[Overdue]:
        """Describe a look at those jobs that nothing was heard of in time, and a decision about them."""
        return self.call("reap", [REAP_BATCH], _parse_overdue)

    def announce(
        self, queues: Collection[str], tasks: Mapping[str, bytes], worker: str = "", card: bytes = b""
    ) -> Call[int]:
        """
        Describe what a worker says, for a lease: its queues, how its tasks are told of, its name and what it is.

        Args:
            card: See `Card`.
        """
        words = [word for name_and_how in tasks.items() for word in name_and_how]
        lease_ms = round(self.settings.lease * 1000)
        return self.call("announce", [lease_ms, worker, card, len(queues), *queues, *words], int)

    def listed(self, owner: Stream, id: str = "") -> Call[list[dict[str, Any]]]:
        """Describe the question for the jobs of *owner*, at most 100, the newest first; or for one of them."""
        return self.call("list", [owner, id], lambda reply: [from_json(job) for job in reply])

    def write(self, key: JobKey, run: str, number: int, text: str) -> Call[tuple[Answer, int]]:
        """
        Describe the writing of the next piece of what *run* writes; *number* counts them, from 1.

        Run, it returns the number of the piece among all that the job has written.
        """
        args: list[Argument] = [*key, run, number, text, MOST_CHUNK_BYTES]
        return self.call("write", args, lambda reply: (Answer(reply[0].decode()), reply[1]))

    def read(self, key: JobKey, after: int) -> Call[list[dict[str, Any]]]:
        """Describe the reading of the next pieces, at most 20, after the one with the number *after*."""

        def parse(reply: list[Any]) -> list[dict[str, Any]]:
            return [_parse_piece(int(id.partition(b"-")[0]), fields) for id, fields in reply]

        return Call(("XRANGE", self.keys.chunks(*key), f"({after}-0", "+", "COUNT", PIECES), parse)

    def call(self, name: str, args: Sequence[Argument], parse: Any) -> Call[Any]:
        """Describe the run of one of the scripts that know the terms of jobs."""
        terms = {
            "lease_ms": round(self.settings.lease * 1000),
            "job_ms": round(self.settings.job_seconds * 1000),
            "wait_ms": round(self.settings.job_wait_seconds * 1000),
        }
        script = Script.load(f"jobs/{name}", base=self.keys.base)
        return script_call(script, [self.keys.base], [to_json(terms), *args], parse)


def _parse_piece(number: int, fields: Sequence[bytes]) -> dict[str, Any]:
    known = dict(zip(fields[::2], fields[1::2], strict=True))
    piece: dict[str, Any] = {"n": number, "text": known[b"t"].decode()}
    return piece | {"anew": True} if known[b"a"] == b"1" else piece


def _parse_overdue(reply: list[Any]) -> Overdue:
    more, *words = reply
    return Overdue(
        bool(more),
        tuple((owner.decode(), from_json(job)) for owner, job in zip(words[::2], words[1::2], strict=True)),
    )


def _parse_advanced(reply: list[Any]) -> Advanced:
    word, fence, *job = reply
    return Advanced(Answer(word.decode()), fence, from_json(job[0]) if job and job[0] else None)
