"""
Judges a fault run by its history. What may have happened is not held against it: an unknown outcome excuses both ways.

`judge` is pure. "I0" says that a history proves nothing; the other invariants:

    I1   no silent loss                               I11  the canary is in no log
    I2   nothing twice                                I13  I1 to I3, of what is sent to a topic
    I3   in order                                     I14  nothing of a topic that was not joined
    I4   a user's messages are to that user           I15  members as told are those who have joined
    I5   hooks run once, in order                     I16  a request has one answer, one error, or no connection
    I6   presence is true, nothing is left over       I17  `others` never reaches the connection it leaves out
    I7   nobody is told of those who never left       I18  the newest state of a job that a device knows is the true
    I8   nothing after the close                           one, and none comes after a newer one
    I9   a question is answered in time
    I10  nothing grows
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from tests.faults.deliveries import judge_deliveries
from tests.faults.history import (
    Asked,
    Connecting,
    Event,
    Fault,
    Gap,
    Hook,
    Job,
    Joined,
    Leak,
    Leftovers,
    Message,
    Presence,
    Ready,
    Replied,
    Send,
    Unknown,
)
from tests.faults.hooks import judge_hooks, rank, tell
from tests.faults.requests import judge_requests
from tests.faults.story import Limits, Story, Violation
from tests.faults.topics import judge_topics
from tests.faults.watching import judge_jobs

LEAST_ACKNOWLEDGED = 100


@dataclass(frozen=True, slots=True)
class Summary:
    """
    How much a history proves.

    Attributes:
        faults: How often each was made, by name.
        received: Deliveries, so a message to two devices counts twice.
        recoveries: Reconnections of a v1 device that recovered all that it had missed.
        unrecovered: Those that did not.
        joins: Of topics, those of devices that came back with them included.
        topic_recoveries: Those of them that recovered all that was missed.
        requests: That were answered, or answered with an error.
        jobs: Watched ones that some device was told of.
        reruns: Runs of hooks that were not the first attempt.
    """

    faults: Mapping[str, int]
    sent: int
    acknowledged: int
    unknown: int
    received: int
    sessions: int
    recoveries: int
    unrecovered: int
    joins: int
    topic_recoveries: int
    requests: int
    jobs: int
    gaps: int
    hooks: int
    reruns: int
    violations: int


def judge(events: Sequence[Event], limits: Limits) -> list[Violation]:
    """
    Return every violation of an invariant.

    Args:
        events: In the order of the clock, as `read_history` returns them.
    """
    story = Story(events)
    return [
        *_proves_nothing(story),
        *judge_deliveries(story),
        *judge_hooks(story, limits),
        *_presence(story),
        *judge_requests(story, limits),
        *judge_topics(story),
        *judge_jobs(story),
        *_leaks(story),
    ]


def summary(events: Sequence[Event], violations: Sequence[Violation] = ()) -> Summary:
    """Count what is in a history, and what `judge` found in it."""
    story = Story(events)
    reconnects = _recovered(story, Ready)
    return Summary(
        faults=dict(sorted(Counter(fault.fault for fault in story.of(Fault) if fault.phase == "begin").items())),
        sent=len(story.of(Send)),
        acknowledged=_count_acknowledged(story),
        unknown=len(story.of(Unknown)),
        received=len(story.of(Message)),
        sessions=len(story.of(Connecting)),
        recoveries=reconnects.count(True),
        unrecovered=reconnects.count(False),
        joins=len(story.of(Joined)),
        topic_recoveries=_recovered(story, Joined).count(True),
        requests=len(story.of(Replied)),
        jobs=len({job.job for job in story.of(Job)}),
        gaps=len(story.of(Gap)),
        hooks=len(story.of(Hook)),
        reruns=sum(hook.attempt > 1 for hook in story.of(Hook)),
        violations=len(violations),
    )


def _proves_nothing(story: Story) -> Iterator[Violation]:
    """I0."""
    acknowledged = _count_acknowledged(story)
    enough = {
        "it never became quiet": story.quiet < inf,
        "no presence was compared": story.of(Presence),
        "nobody looked for leftovers": story.of(Leftovers),
        "there was no fault": story.troubles,
        f"only {acknowledged} messages were acknowledged": acknowledged >= LEAST_ACKNOWLEDGED,
        "nobody reconnected and recovered": any(_recovered(story, Ready)),
        "there was no hook": story.runs,
        "nobody recovered in a topic": any(_recovered(story, Joined)),
        "nothing was asked": story.of(Asked),
        "nobody watched a job": story.of(Job),
    }
    yield from (Violation("I0", why) for why, is_enough in enough.items() if not is_enough)
    for stray in story.strays:
        yield Violation("I0", f"{stray} belongs to nothing that began")


def _recovered(story: Story, kind: type[Ready | Joined]) -> list[bool]:
    """Tell for each time that somebody was back, or back in a topic, whether nothing was missed."""
    back = [event for receiver in story.receivers for event in receiver.reconnects()]
    return [event.recovered for event in back if isinstance(event, kind)]


def _count_acknowledged(story: Story) -> int:
    return sum(sending.acknowledged < inf for sending in story.sendings.values())


def _presence(story: Story) -> Iterator[Violation]:
    """I6."""
    for leftovers in story.of(Leftovers):
        yield from (Violation("I6", f"left over {story.time(leftovers.at)}: {what}") for what in leftovers.what)
    for presence in story.of(Presence):
        when = story.time(presence.at)
        online, truth = set(presence.online), set(presence.truth)
        yield from (Violation("I6", f"{user} is online {when}, but not connected") for user in sorted(online - truth))
        yield from (Violation("I6", f"{user} is connected {when}, but not online") for user in sorted(truth - online))
        yield from _last_hooks(story, presence)


def _last_hooks(story: Story, presence: Presence) -> Iterator[Violation]:
    truth = set(presence.truth)
    when = story.time(presence.at)
    last = {
        user: max((run for run in runs if run.begin <= presence.at), key=rank, default=None)
        for user, runs in story.runs.items()
    }
    for user, run in last.items():
        if run is not None and (run.hook.kind == "online") != (user in truth):
            connected = "connected" if user in truth else "not connected"
            yield Violation(
                "I6",
                f"{user} is {connected} {when}; the last hook was {tell(story, run)}",
            )
    if not story.losses:  # a Redis that forgot a hook before it ran never runs it
        untold = sorted(user for user in truth if last.get(user) is None)
        yield from (Violation("I6", f"{user} is connected {when}; no hook ever said so") for user in untold)


def _leaks(story: Story) -> Iterator[Violation]:
    """I10, and I11 if it is a secret that leaked."""
    for leak in story.of(Leak):
        yield Violation("I11" if "canary" in leak.what.lower() else "I10", f"{leak.what} {story.time(leak.at)}")
