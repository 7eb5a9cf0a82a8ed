"""A fault run, in the order of time: all starts, faults happen, all is healed, and it is seen what is left."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.aftermath import growth, jobs, leftovers, members, online, told_by_logs
from tests.faults.blocking import blocking
from tests.faults.conditions import GRACE, LEASE, NODES, SPARED_NODE, TICK
from tests.faults.damage import Damage
from tests.faults.faults import Faults
from tests.faults.history import Recorder
from tests.faults.plan import KINDS, plan
from tests.faults.stage import Stage, stage

PUBLISHERS_TIMEOUT = 25.0
# A killed worker's job is given to another some 6 s later.
JOBS_TIMEOUT = 10.0
STAY_TIMEOUT = 10.0
SETTLE_TIMEOUT = LEASE + TICK + GRACE + 4
REST_TIMEOUT = 5.0
FINISH_TIMEOUT = 5.0
CHECK_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Options:
    """
    Attributes:
        seconds: In which faults happen. The run takes some 25 s more.
        folder: Of the histories and logs.
        mutation: How the library is broken on purpose; empty for not at all.
    """

    seed: str
    seconds: float
    folder: Path
    kinds: Collection[str] = tuple(KINDS)
    mutation: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """
    Attributes:
        online: Users, as Redis says.
        truth: Users that have an open connection.
        left: What is left over.
        members: Of each room, and how many connections have joined it, as Redis says.
        views: The same in truth; "wrong" are the devices that were told something else.
        jobs: Of each user who watches some, as Redis says.
        known: The states of jobs that each device was told.
    """

    online: list[str]
    truth: list[str]
    left: list[str]
    members: dict[str, tuple[list[str], int]]
    views: dict[str, dict[str, Any]]
    jobs: dict[str, list[dict[str, Any]]]
    known: dict[str, dict[str, str]]

    @property
    def is_settled(self) -> bool:
        """Whether all is as it must be. The judge says it better: by the histories."""
        are_members_true = all(
            not view["wrong"] and self.members[topic] == (view["members"], view["count"])
            for topic, view in self.views.items()
        )
        are_jobs_true = all(
            self.known[device].get(job["id"]) == job["state"]
            for user, jobs in self.jobs.items()
            for job in jobs
            for device in self.known
            if device.startswith(f"{user}-")
        )
        return self.online == self.truth and not self.left and are_members_true and are_jobs_true


async def run(options: Options, say: Callable[[str], None]) -> list[str]:
    """Make a run that writes its history. Returns what is worth a note, but violates nothing."""
    recorder = Recorder(options.folder, "driver")
    with _logged(options.folder / "processes.log"):
        say("starting")
        async with stage(options.folder, options.seed, options.mutation) as all:
            before = await all.vitals()
            lanes = plan(options.seed, options.seconds, options.kinds)
            say(f"{sum(map(len, lanes))} faults in {options.seconds:g} s")
            await Faults(Damage(all, options.folder), recorder).run(lanes)
            say("waiting until all has settled")
            notes = await _settle(all)
            recorder.record("quiet")
            look = await _look(all)
            recorder.record("presence", online=look.online, truth=look.truth)
            recorder.record("leftovers", what=look.left)
            for topic, (users, count) in look.members.items():
                recorder.record("members", topic=topic, members=users, count=count)
            for user, jobs in look.jobs.items():
                for job in jobs:
                    recorder.record("watched", user=user, job=job["id"], seq=job["seq"], state=job["state"])
            after = await all.vitals()
            found = [text for name in NODES for text in growth(name, before[name], after[name])]
            found += [text for node in all.nodes.values() for text in node.ended_by_itself]
            notes += all.worker.ended_by_itself
            notes.append(f"{SPARED_NODE}: {before[SPARED_NODE]} → {after[SPARED_NODE]}")
    for what in found + told_by_logs(sorted(options.folder.glob("*.log"))):
        recorder.record("leak", what=what)
    recorder.close()
    return notes


async def _settle(all: Stage) -> list[str]:
    """Stop all sending, bring everything back, and wait until nothing changes any more, or for so long."""
    notes = []
    for publisher in (all.awaiting, all.blocking):
        await publisher.ask("stop", timeout=PUBLISHERS_TIMEOUT)
    for service in all.services:
        await blocking(service.start)
    if left := await blocking(_unfinished_jobs, all):
        notes.append(f"{left} jobs were not done within {JOBS_TIMEOUT:g} s")
    await blocking(all.worker.stop)
    if late := await all.crowd.ask("stay", timeout=STAY_TIMEOUT + 5, patience=STAY_TIMEOUT):
        notes.append(f"not connected within {STAY_TIMEOUT:g} s: {', '.join(late)}")
    deadline = time.monotonic() + SETTLE_TIMEOUT
    while time.monotonic() < deadline:
        if (await _look(all)).is_settled:
            break
        await asyncio.sleep(CHECK_PAUSE)
    # A request may send a message, which must not come after the last.
    if asking := await all.crowd.ask("rest", timeout=REST_TIMEOUT + 5, patience=REST_TIMEOUT):
        notes.append(f"not answered within {REST_TIMEOUT:g} s: {', '.join(asking)}")
    # Who has the very last message to its user has all that came before.
    await all.awaiting.ask("last", timeout=PUBLISHERS_TIMEOUT)
    if without := await all.crowd.ask("finish", timeout=FINISH_TIMEOUT + 5, patience=FINISH_TIMEOUT):
        notes.append(f"without the last message after {FINISH_TIMEOUT:g} s: {', '.join(without)}")
    return notes


async def _look(all: Stage) -> Look:
    """Look at what Redis says, and what the clients were told."""
    port = all.ports[SPARED_NODE]
    return Look(
        online=await blocking(online, port),
        truth=await all.crowd.ask("truth", timeout=5),
        left=await blocking(leftovers, all.redis.client, len(NODES)),
        members=await blocking(members, port),
        views=await all.crowd.ask("views", timeout=5),
        jobs=await blocking(jobs, port),
        known=await all.crowd.ask("jobs", timeout=5),
    )


def _unfinished_jobs(all: Stage) -> int:
    """Wait until none is left, or for so long. Returns how many are."""
    deadline = time.monotonic() + JOBS_TIMEOUT
    redis = all.redis.client
    # The names of Celery's default queue, and of what its workers have taken but not acknowledged. What is in "unacked"
    # but not in its index, since Redis was full or rolled back between the two, kombu gives to nobody any more.
    while (left := redis.llen("celery") + redis.zcard("unacked_index")) and time.monotonic() < deadline:
        time.sleep(CHECK_PAUSE)
    return left


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Write what nodes and workers say to *path*."""
    logger, handler = logging.getLogger("running"), logging.FileHandler(path)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)
        handler.close()
