"""The whole application as Redis knows it: its nodes, workers, users, queues and jobs, and what is wrong with them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qrsocket import clients
from qrsocket.jobs import census as of_jobs
from qrsocket.jobs.census import JobCensus, OwnedJob, WorkerSeen
from qrsocket.jobs.queues import Queue, duration, queues_of
from qrsocket.jobs.table import Jobs, State
from qrsocket.keys import Keyspace
from qrsocket.patience import Patience
from qrsocket.presence import census as of_nodes
from qrsocket.presence.census import Census, NodeSeen
from qrsocket.roundtrip import Call, arun_all, run_all
from qrsocket.settings import Settings
from qrsocket.streams import Stream

# Seconds that a node's heartbeat may take through Redis. It takes 1 ms.
MOST_LAG = 2.0


@dataclass(frozen=True, slots=True)
class Status:
    """
    Attributes:
        users, topics: How many are online, or have been joined; None if they are too many to be counted.
        some_users: Ids of some who are online.
        queues: Those in which jobs wait.
        jobs: How many are in each state, as `JobCensus` counts.
        others: How many jobs more have not ended.
        troubles: What is wrong, each in words.
    """

    nodes: tuple[NodeSeen, ...]
    workers: tuple[WorkerSeen, ...]
    users: int | None
    topics: int | None
    some_users: tuple[str, ...]
    queues: tuple[Queue, ...]
    jobs: dict[State, int]
    others: int
    troubles: tuple[str, ...]


def read(settings: Settings, *, names: int = 0) -> Status:
    """
    Ask Redis: two round trips for each shard.

    Args:
        names: At most so many users are named.

    Raises:
        Unavailable: Redis did not answer.
    """
    calls = _calls(settings, names)
    return _status(run_all(clients.blocking(settings), calls, Patience(settings.redis_timeout)), names)


async def aread(settings: Settings, *, names: int = 0) -> Status:
    """Ask Redis, awaiting; otherwise as `read`."""
    calls = _calls(settings, names)
    return _status(await arun_all(clients.awaiting(settings), calls, Patience(settings.redis_timeout)), names)


def job_calls(settings: Settings, state: State | None = None, most: int = 100) -> list[Call[list[OwnedJob]]]:
    """
    Describe the questions, one for each shard, for the jobs of everybody: those that have not ended, and the newest
    that have, without results; in *state* alone, if one is given.
    """
    return [of_jobs.all_jobs(Jobs(keys, settings), state or "", most) for keys in Keyspace.of(settings).shards]


def owner_calls(settings: Settings, task_id: str) -> list[Call[list[Stream]]]:
    """Describe the questions, one for each shard, whose the job *task_id* is."""
    return [of_jobs.owners_of(Jobs(keys, settings), task_id) for keys in Keyspace.of(settings).shards]


def _calls(settings: Settings, names: int) -> list[Call[Any]]:
    return [
        call
        for keys in Keyspace.of(settings).shards
        for call in (of_nodes.census(keys, names=names), of_jobs.census(Jobs(keys, settings)))
    ]


def _status(answers: Sequence[Any], names: int) -> Status:
    """Put together what the shards have answered. All nodes and workers are in each, but their figures in the first."""
    who: Sequence[Census] = answers[::2]
    of_shards: Sequence[JobCensus] = answers[1::2]
    nodes, workers = who[0].nodes, of_shards[0].workers
    queues = queues_of(
        (line for shard in of_shards for line in shard.lines),
        {queue for shard in of_shards for queue in shard.consumed},
    )
    jobs = sum((Counter(shard.jobs) for shard in of_shards), Counter[State]())
    return Status(
        nodes,
        workers,
        _sum([shard.users for shard in who]),
        _sum([shard.topics for shard in who]),
        tuple(sorted(user for shard in who for user in shard.some_users)[:names]),
        queues,
        {state: jobs[state] for state in State if jobs[state]},
        sum(shard.others for shard in of_shards),
        (
            *_troubles_of_nodes(nodes),
            *_troubles_of_queues(queues),
            *_troubles_of_workers(workers, jobs[State.REQUEUED]),
        ),
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _troubles_of_nodes(nodes: Sequence[NodeSeen]) -> Iterator[str]:
    for node in nodes:
        if node.lease_left <= 0:
            yield f"node {node.name} has not renewed its lease: its process has died, hangs, or cannot reach Redis"
        elif node.figures is None:
            yield f"node {node.name} says nothing of itself: it has just begun, or is of another version"
        elif node.figures.lag > MOST_LAG:
            late = duration(node.figures.lag)
            yield f"node {node.name} is deaf, or late by {late}: what Redis publishes does not reach it in time"


def _troubles_of_queues(queues: Sequence[Queue]) -> Iterator[str]:
    for queue in queues:
        if not queue.is_consumed:
            yield f"queue {queue.name} has no worker: {queue.jobs} waiting, the first for {duration(queue.seconds)}"


def _troubles_of_workers(workers: Sequence[WorkerSeen], requeued: int) -> Iterator[str]:
    if requeued and not workers:
        yield f"no worker is there: {requeued} that another one had begun wait to be run again"
