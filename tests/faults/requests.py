"""Whether what a client asks is answered in time, and once: I9 and I16."""

from collections import defaultdict
from collections.abc import Iterator

from tests.faults.history import Answer, Asked, Replied, Request
from tests.faults.hooks import extended
from tests.faults.story import REDIS_FAULTS, Limits, Session, Story, Trouble, Violation

# A request that met a fault has its time again from this long after it.
BACK_AFTER = 3.0


def judge_requests(story: Story, limits: Limits) -> Iterator[Violation]:
    """
    I9: what is answered with a message to the user is answered, or the connection ends.

    I16: what is answered on its connection is, once.
    """
    answers: defaultdict[tuple[str, str], list[Answer | Replied]] = defaultdict(list)
    for answer in (*story.of(Answer), *story.of(Replied)):
        answers[answer.session, answer.request].append(answer)
    for request in (*story.of(Request), *story.of(Asked)):
        if (session := story.sessions.get(request.session)) is None:
            yield Violation("I0", f"{request} belongs to nothing that began")
            continue
        answered = answers.pop((request.session, request.request), [])
        yield from _lateness(story, limits, request, session, answered)
        if isinstance(request, Asked):
            yield from _wrong(story, request, answered)
    for (_, request_id), unasked in answers.items():
        if isinstance(unasked[0], Replied):
            yield Violation("I16", f"{request_id} was answered {story.time(unasked[0].at)}, and never asked")


def _lateness(
    story: Story, limits: Limits, request: Request | Asked, session: Session, answered: list[Answer | Replied]
) -> Iterator[Violation]:
    allowed = limits.handler_timeout + 1
    end = min([answer.at for answer in answered] + [session.closed])
    if end <= request.at + allowed:
        return
    deadline = extended(request.at, allowed, _hindrances(story, session), allowed + BACK_AFTER)
    if isinstance(request, Request) and story.has_data_loss(request.at, deadline):
        return  # the message that answers may be lost, and a gap be told instead
    if end > deadline and deadline <= min(story.quiet, story.end):
        yield Violation(
            "I16" if isinstance(request, Asked) else "I9",
            f"request {request.request} of session {request.session} on {session.connecting.node}, "
            f"{story.time(request.at)}: answer due {story.time(deadline)}, came {story.time(end)}",
        )


def _wrong(story: Story, request: Asked, answered: list[Answer | Replied]) -> Iterator[Violation]:
    told = [answer for answer in answered if isinstance(answer, Replied)]
    if len(told) > 1:
        outcomes = ", ".join(f"{answer.outcome} {story.time(answer.at)}" for answer in told)
        yield Violation("I16", f"request {request.request} of session {request.session} was answered with {outcomes}")
    elif told and (told[0].outcome == "wrong" or (request.fails and told[0].outcome != "error")):
        expected = "an error" if request.fails else "its own answer or an error"
        yield Violation(
            "I16",
            f"request {request.request} of session {request.session} was answered with {told[0].outcome} "
            f"{story.time(told[0].at)}, and not with {expected}",
        )


def _hindrances(story: Story, session: Session) -> list[Trouble]:
    """Return what may delay the answer to a request, or keep its client from reading it."""
    connecting = session.connecting
    targets = {connecting.node, connecting.device, connecting.session}
    return [trouble for trouble in story.troubles if trouble.name in REDIS_FAULTS or trouble.target in targets]
