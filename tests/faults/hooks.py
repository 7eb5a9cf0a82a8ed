"""Whether each change of a user's presence was told once, in order, and by one node at a time: I5 and I7."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from math import inf

from tests.faults.story import NODE_FAULTS, REDIS_FAULTS, Limits, Run, Session, Story, Trouble, Violation

# A Redis that forgot a user numbers anew, from the clock. The user may come back this much later.
RENUMBERED_WITHIN = 30.0
# Reaping empties 100 users a tick, so the hooks of a dead node are handed over during several.
REAPING_TICKS = 30


def judge_hooks(story: Story, limits: Limits) -> Iterator[Violation]:
    for user, runs in story.runs.items():
        if judged := [run for run in runs if run.begin <= story.end]:
            yield from _numbers(story, user, judged)
            yield from _attempts(story, limits, judged)
            yield from _overlaps(story, limits, judged)
            yield from _endless(story, limits, judged)
    yield from _transitions_of_permanent_users(story)


def _numbers(story: Story, user: str, runs: list[Run]) -> Iterator[Violation]:
    """I5: kinds alternate, beginning with online, and numbers are contiguous unless Redis forgot them."""
    first: dict[int, Run] = {}
    for run in runs:
        if first.setdefault(run.number, run).hook.kind != run.hook.kind:
            yield Violation("I5", f"{tell(story, run)} was {first[run.number].hook.kind} before")
    events = [first[number] for number in sorted(first)]
    if events[0].hook.kind != "online" and not story.has_data_loss(-inf, events[0].begin):
        yield Violation("I5", f"{tell(story, events[0])} is the first of {user}")
    for before, event in pairwise(events):
        if before.hook.kind == event.hook.kind:
            yield Violation("I5", f"{tell(story, event)} follows {tell(story, before)}, of the same kind")
        forgotten_since = min(before.begin, event.begin - RENUMBERED_WITHIN)
        if event.number != before.number + 1 and not story.has_data_loss(forgotten_since, event.begin):
            yield Violation("I5", f"{tell(story, event)} follows {tell(story, before)}: numbers are missing")


def _attempts(story: Story, limits: Limits, runs: list[Run]) -> Iterator[Violation]:
    """I5: an event is run once, and again only if whoever ran it was cut off."""
    tried: dict[tuple[int, int], Run] = {}
    for run in runs:
        attempt = run.hook.attempt
        same = tried.setdefault((run.number, attempt), run)
        earlier = tried.get((run.number, attempt - 1))
        if same is not run:
            yield Violation("I5", f"{tell(story, run)} is a repetition of {tell(story, same)}")
        elif attempt > 1 and earlier is None and not _may_have_died_silently(story, limits, run):
            yield Violation("I5", f"{tell(story, run)} follows no attempt {attempt - 1}")
        elif earlier is not None and not _was_cut_off(story, limits, earlier, run.begin):
            yield Violation("I5", f"{tell(story, run)} follows {tell(story, earlier)}, whose node was well")


def _overlaps(story: Story, limits: Limits, runs: list[Run]) -> Iterator[Violation]:
    """I5: a run begins when the one before it, in the order of numbers and attempts, has ended."""
    previous = runs[0]
    for run in runs[1:]:
        if rank(run) < rank(previous):
            # A node that was frozen between taking the hook and running it, runs it when it thaws.
            if not _was_cut_off(story, limits, run, run.begin):
                yield Violation("I5", f"{tell(story, run)} comes after {tell(story, previous)}")
            continue
        if previous.end > run.begin and not _was_cut_off(story, limits, previous, run.begin):
            yield Violation(
                "I5",
                f"{tell(story, run)} began before the end, {story.time(previous.end)}, of {tell(story, previous)}",
            )
        previous = run


def _endless(story: Story, limits: Limits, runs: list[Run]) -> Iterator[Violation]:
    """I5: a run ends in time, unless its node does not live to see it. A frozen node has its time when it thaws."""
    allowed = limits.hook_timeout + 1
    for run in runs:
        troubles = [trouble for trouble in story.troubles if trouble.target == run.hook.node]
        deadline = extended(
            run.begin, allowed, [trouble for trouble in troubles if trouble.name == "stop-node"], allowed
        )
        is_killed = any(trouble.name == "kill-node" and trouble.meets(run.begin, deadline) for trouble in troubles)
        if not is_killed and run.end > deadline and deadline <= story.end:
            yield Violation(
                "I5", f"{tell(story, run)} should have ended by {story.time(deadline)}; it did {story.time(run.end)}"
            )


def rank(run: Run) -> tuple[int, int]:
    """Order runs as they should begin."""
    return run.number, run.hook.attempt


def tell(story: Story, run: Run) -> str:
    hook = run.hook
    return f"{hook.kind} {hook.event}, attempt {hook.attempt} on {hook.node} {story.time(run.begin)}"


def extended(begin: float, allowed: float, troubles: list[Trouble], after: float) -> float:
    """
    Return the deadline for what has *allowed* seconds from *begin* on.

    Args:
        troubles: What stops the clock, by their beginnings.
        after: Seconds that are allowed from the end of each.
    """
    deadline = begin + allowed
    for trouble in troubles:
        if trouble.meets(begin, deadline):
            deadline = max(deadline, trouble.end + after)
    return deadline


def _was_cut_off(story: Story, limits: Limits, run: Run, until: float) -> bool:
    """Tell whether the runner may have lost its lease, and so its hook, by then."""
    return any(
        trouble.meets(run.begin - limits.lease, until)
        for trouble in story.troubles
        if trouble.name in REDIS_FAULTS or trouble.target == run.hook.node
    )


def _may_have_died_silently(story: Story, limits: Limits, run: Run) -> bool:
    """Tell whether some node may have taken the hook, and died before it began to run it."""
    since = run.begin - 2 * limits.lease - REAPING_TICKS * limits.tick
    return any(
        trouble.meets(since, run.begin) for trouble in story.troubles if trouble.name in REDIS_FAULTS | NODE_FAULTS
    )


def _transitions_of_permanent_users(story: Story) -> Iterator[Violation]:
    """I7: who was connected before the first fault, to nodes without one, and still is at the end, came online once."""
    targets = {trouble.target for trouble in story.troubles}
    first_fault = min((trouble.begin for trouble in story.troubles), default=inf)

    def is_permanent(session: Session) -> bool:
        return session.opened < first_fault and session.is_open(story.quiet) and session.connecting.node not in targets

    sessions: defaultdict[str, list[Session]] = defaultdict(list)
    for session in story.sessions.values():
        sessions[session.connecting.user].append(session)
    for user in sessions:
        if not all(map(is_permanent, sessions[user])):
            continue
        runs = [run for run in story.runs.get(user, []) if run.begin <= story.quiet]
        if [("online", 1)] != [(run.hook.kind, run.hook.attempt) for run in runs]:
            told = "; ".join(tell(story, run) for run in runs) or "no hook"
            yield Violation("I7", f"{user} was connected all the time, to nodes without a fault, but: {told}")
