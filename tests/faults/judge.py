"""
Judges a fault run by its history. What may have happened is not held against it: an unknown outcome excuses both ways.

`judge` is pure; the invariants are those of STATE.md, and "I0" says that a history proves nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from tests.faults.deliveries import judge_deliveries
from tests.faults.history import (
    Answer,
    Connecting,
    Event,
    Fault,
    Gap,
    Hook,
    Leak,
    Leftovers,
    Message,
    Presence,
    Request,
    Send,
    Unknown,
)
from tests.faults.hooks import extended, judge_hooks, rank, tell
from tests.faults.story import REDIS_FAULTS, Limits, Session, Story, Trouble, Violation

LEAST_ACKNOWLEDGED = 100
# A request that met a fault has its time again from this long after it.
BACK_AFTER = 3.0


@dataclass(frozen=True, slots=True)
class Summary:
    """
    How much a history proves.

    Attributes:
        faults: How often each was made, by name.
        received: Deliveries, so a message to two devices counts twice.
        recoveries: Reconnections of a v1 device that recovered all that it had missed.
        unrecovered: Those that did not.
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
        *_requests(story, limits),
        *_leaks(story),
    ]


def summary(events: Sequence[Event], violations: Sequence[Violation] = ()) -> Summary:
    """Count what is in a history, and what `judge` found in it."""
    story = Story(events)
    reconnects = [ready.recovered for receiver in story.receivers for ready in receiver.reconnects()]
    return Summary(
        faults=dict(sorted(Counter(fault.fault for fault in story.of(Fault) if fault.phase == "begin").items())),
        sent=len(story.of(Send)),
        acknowledged=_count_acknowledged(story),
        unknown=len(story.of(Unknown)),
        received=len(story.of(Message)),
        sessions=len(story.of(Connecting)),
        recoveries=reconnects.count(True),
        unrecovered=reconnects.count(False),
        gaps=len(story.of(Gap)),
        hooks=len(story.of(Hook)),
        reruns=sum(hook.attempt > 1 for hook in story.of(Hook)),
        violations=len(violations),
    )


def _proves_nothing(story: Story) -> Iterator[Violation]:
    """I0."""
    acknowledged = _count_acknowledged(story)
    recovered = any(ready.recovered for receiver in story.receivers for ready in receiver.reconnects())
    enough = {
        "it never became quiet": story.quiet < inf,
        "no presence was compared": story.of(Presence),
        "nobody looked for leftovers": story.of(Leftovers),
        "there was no fault": story.troubles,
        f"only {acknowledged} messages were acknowledged": acknowledged >= LEAST_ACKNOWLEDGED,
        "nobody reconnected and recovered": recovered,
        "there was no hook": story.runs,
    }
    yield from (Violation("I0", why) for why, is_enough in enough.items() if not is_enough)
    for stray in story.strays:
        yield Violation("I0", f"{stray} belongs to nothing that began")


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


def _requests(story: Story, limits: Limits) -> Iterator[Violation]:
    """I9."""
    allowed = limits.handler_timeout + 1
    answered: dict[tuple[str, str], float] = {}
    for answer in story.of(Answer):
        answered.setdefault((answer.session, answer.request), answer.at)
    for request in story.of(Request):
        if (session := story.sessions.get(request.session)) is None:
            yield Violation("I0", f"{request} belongs to nothing that began")
            continue
        end = min(answered.get((request.session, request.request), inf), session.closed)
        if end <= request.at + allowed:
            continue
        deadline = extended(request.at, allowed, _hindrances(story, session), allowed + BACK_AFTER)
        if end > deadline and deadline <= min(story.quiet, story.end):
            yield Violation(
                "I9",
                f"request {request.request} of session {request.session} on {session.connecting.node}, "
                f"{story.time(request.at)}: answer due {story.time(deadline)}, came {story.time(end)}",
            )


def _hindrances(story: Story, session: Session) -> list[Trouble]:
    """Return what may delay the answer to a request, or keep its client from reading it."""
    connecting = session.connecting
    targets = {connecting.node, connecting.device, connecting.session}
    return [trouble for trouble in story.troubles if trouble.name in REDIS_FAULTS or trouble.target in targets]


def _leaks(story: Story) -> Iterator[Violation]:
    """I10, and I11 if it is a secret that leaked."""
    for leak in story.of(Leak):
        yield Violation("I11" if "canary" in leak.what.lower() else "I10", f"{leak.what} {story.time(leak.at)}")
