"""What workers say of themselves, and the jobs of everybody: for those who run the application, not for its users."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from qrsocket.jobs.table import Jobs, State
from qrsocket.keys import fit
from qrsocket.roundtrip import Call, Script, script_call
from qrsocket.streams import Stream, user_of

# To look at twice so many holds Redis up for about 5 ms; to show 100 of them 4 ms, all of them 20 ms.
MOST_SEEN = 1000


@dataclass(frozen=True, slots=True)
class Scheduled:
    """
    An entry of a beat schedule.

    Attributes:
        when: "every 60 s", or as Celery shows it: "<crontab: 0 7 * * * (m/h/dM/MY/d)>".
    """

    name: str
    task: str
    when: str


@dataclass(frozen=True, slots=True)
class Card:
    """
    What a worker says of itself.

    Attributes:
        pool: "prefork", "gevent" …
        concurrency: Jobs that it runs at one time.
        queues: And patterns that lead to them.
        schedules: The beat schedule of its application. Whether a beat runs it, a worker does not know.
    """

    version: str
    host: str
    pid: int
    pool: str
    concurrency: int
    queues: tuple[str, ...] = ()
    schedules: tuple[Scheduled, ...] = ()

    def to_json(self) -> bytes:
        return to_json(self)

    @staticmethod
    def from_json(text: bytes) -> "Card | None":
        """Read what a worker has said; None if it is of another version, and does not say all of this."""
        told = from_json(text)
        known = {name: told[name] for name in Card.__slots__ if name in told}
        try:
            schedules = tuple(Scheduled(**one) for one in known.get("schedules", ()))
            return Card(**{**known, "queues": tuple(known.get("queues", ())), "schedules": schedules})
        except TypeError:
            return None


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """
    Attributes:
        name: As Celery has it: celery@host.
        lease_left: Seconds until it counts as dead, unless it says again that it lives.
    """

    name: str
    lease_left: float
    card: Card | None


@dataclass(frozen=True, slots=True)
class JobCensus:
    """
    Attributes:
        lines: Queue, jobs that wait in it, and the seconds since the first of them does.
        consumed: Names of queues, and patterns, that workers consume.
        jobs: How many are in each state, of at most 1 000 that have not ended (running ones first, since something is
            decided about them first) and of the newest 1 000 that have.
        others: How many more have not ended.
    """

    workers: tuple[WorkerSeen, ...]
    lines: tuple[tuple[str, int, int], ...]
    consumed: frozenset[str]
    jobs: dict[State, int]
    others: int


@dataclass(frozen=True, slots=True)
class OwnedJob:
    """
    A job, and whose it is.

    Attributes:
        user: None if its owner is a connection without a user.
        job: As its owner sees it, without its result.
    """

    owner: Stream
    job: dict[str, Any]

    @property
    def user(self) -> str | None:
        return user_of(self.owner)


def census(jobs: Jobs) -> Call[JobCensus]:
    """Describe the question which workers live, and how many jobs are in each state."""
    script = Script.load("jobs/census", base=jobs.keys.base)
    return script_call(script, [jobs.keys.base], [MOST_SEEN], _parse_census)


def all_jobs(jobs: Jobs, state: str, most: int) -> Call[list[OwnedJob]]:
    """
    Describe the question for the jobs of everybody in *state* ("": in any): what `JobCensus` counts, *most* at most.
    """
    return jobs.call(
        "all",
        [MOST_SEEN, state, most],
        lambda reply: [OwnedJob(owner.decode(), from_json(job)) for owner, job in reply],
    )


def owners_of(jobs: Jobs, task_id: str) -> Call[list[Stream]]:
    """Describe the search for whose job it is: for people, since it looks through all that have not ended."""
    script = Script.load("jobs/owner", base=jobs.keys.base)
    return script_call(script, [jobs.keys.base], [fit(task_id)], lambda reply: [owner.decode() for owner in reply])


def _parse_census(reply: Sequence[Any]) -> JobCensus:
    workers, waits, consumed, states, others = reply
    return JobCensus(
        tuple(WorkerSeen(name.decode(), left_ms / 1000, Card.from_json(said)) for name, left_ms, said in workers),
        tuple((queue.decode(), jobs, seconds) for queue, jobs, seconds in waits),
        frozenset(queue.decode() for queue in consumed),
        {State(state.decode()): count for state, count in zip(states[::2], states[1::2], strict=True)},
        others,
    )
