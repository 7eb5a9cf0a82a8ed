"""Whether users see what becomes of their jobs: I18."""

from collections import defaultdict
from collections.abc import Iterator
from math import inf

from tests.faults.history import Job, Watched
from tests.faults.story import Receiver, Story, Violation


def judge_jobs(story: Story) -> Iterator[Violation]:
    told: defaultdict[str, list[Job]] = defaultdict(list)
    for event in story.of(Job):
        told[event.session].append(event)
    for session, jobs in told.items():
        yield from _backwards(story, session, jobs)
    watched: defaultdict[str, list[Watched]] = defaultdict(list)
    for true in story.of(Watched):
        watched[true.user].append(true)
    for receiver in story.receivers:
        if receiver.is_v1 and not receiver.is_of_topic and receiver.is_open(story.quiet):
            yield from _newest(story, receiver, told, watched[receiver.user])


def _backwards(story: Story, session: str, jobs: list[Job]) -> Iterator[Violation]:
    """A state is told after those that came before it. (A list is read meanwhile: a client goes by the numbers.)"""
    last: dict[str, Job] = {}
    for job in jobs:
        if job.listed:
            continue
        before = last.setdefault(job.job, job)
        last[job.job] = job
        if job.seq < before.seq:
            yield Violation(
                "I18",
                f"session {session} was told {story.time(job.at)} that {job.job} is {job.state}, seq {job.seq}, and "
                f"{story.time(before.at)} that it is {before.state}, seq {before.seq}",
            )


def _newest(
    story: Story, receiver: Receiver, told: dict[str, list[Job]], watched: list[Watched]
) -> Iterator[Violation]:
    """A device that is connected at the end knows each job as Redis does, over all its sessions."""
    newest: dict[str, Job] = {}
    for session in receiver.sessions:
        for job in told.get(session.connecting.session, []):
            if job.seq >= newest.get(job.job, job).seq:
                newest[job.job] = job
    for true in watched:
        known = newest.get(true.job)
        if known is None:
            yield Violation("I18", f"{receiver.name} was not told of {true.job}, which is {true.state}")
        elif known.state != true.state and not (known.seq > true.seq and story.has_data_loss(known.at, inf)):
            yield Violation(
                "I18",
                f"{receiver.name} was told {story.time(known.at)} that {true.job} is {known.state}, seq {known.seq}; "
                f"it is {true.state}, seq {true.seq}",
            )
