"""The transitions that a node holds: each begun once, and remembered for when Redis forgets it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from qrsocket.presence.answers import UNKNOWN, Known, Transition
from qrsocket.presence.mailbox import REMEMBERED, Mailbox

ALICE, BOB, CAROL = "u:alice", "u:bob", "u:carol"
GRACE, LEASE = 5.0, 15.0
ONLINE = Transition(ALICE, 7, online=True)
OFFLINE = Transition(ALICE, 8, online=False)


class Clock:
    """One that stands still."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def to_tell() -> list[Transition]:
    """What the mailbox has had told."""
    return []


@pytest.fixture
def mailbox(to_tell: list[Transition], clock: Clock) -> Mailbox:
    return Mailbox(to_tell.append, grace=GRACE, lease=LEASE, clock=clock)


def nobody(_stream: str) -> int:
    return 0


def remembered(mailbox: Mailbox) -> set[str]:
    return {stream for stream in (ALICE, BOB, CAROL) if mailbox.known(stream) != UNKNOWN}


def test_a_transition_is_told_once(mailbox: Mailbox, to_tell: list[Transition]) -> None:
    """
    The same transition in another answer of Redis, as another attempt even, is not another transition while it is held.
    """
    mailbox.take(ONLINE)
    mailbox.take(replace(ONLINE))
    mailbox.take(replace(ONLINE, attempt=2))

    assert [ONLINE] == to_tell
    assert {ALICE: ONLINE} == mailbox.held


def test_transitions_of_two_users_are_apart(mailbox: Mailbox, to_tell: list[Transition]) -> None:
    """
    Each user has one transition at a time; one user's says nothing of another's, whatever its number.
    """
    bobs = Transition(BOB, 3, online=True)
    mailbox.take(ONLINE)
    mailbox.take(bobs)
    mailbox.end(ONLINE)

    assert [ONLINE, bobs] == to_tell
    assert {BOB: bobs} == mailbox.held
    assert mailbox.begin(bobs)


def test_what_was_ended_may_come_again(mailbox: Mailbox, to_tell: list[Transition]) -> None:
    """
    A transition that was another node's meanwhile, and is this one's again, is held again; it is told unless it was
    here.
    """
    again = replace(ONLINE, attempt=3)
    mailbox.take(ONLINE)
    mailbox.drop(ONLINE)
    mailbox.take(again)

    assert [ONLINE, again] == to_tell
    assert not mailbox.begin(ONLINE)
    assert mailbox.begin(again)


def test_what_was_told_here_does_not_begin_again(mailbox: Mailbox, to_tell: list[Transition]) -> None:
    """
    When only the acknowledgement was lost, the transition comes again, to be acknowledged and not to be told.
    """
    mailbox.take(ONLINE)
    assert mailbox.begin(ONLINE)
    mailbox.told(ONLINE)
    mailbox.end(ONLINE)
    again = replace(ONLINE, attempt=2)
    mailbox.take(again)

    assert [ONLINE, again] == to_tell
    assert not mailbox.begin(again)
    mailbox.take(OFFLINE)
    assert mailbox.begin(OFFLINE)


def test_what_is_another_nodes_does_not_begin(mailbox: Mailbox) -> None:
    """
    A transition that was dropped before its turn came is not told here.
    """
    mailbox.take(ONLINE)
    mailbox.drop(ONLINE)

    assert not mailbox.begin(ONLINE)
    assert {} == mailbox.held


def test_what_has_begun_goes_on(mailbox: Mailbox) -> None:
    """
    A transition that is being told when another node gets it stays held, until it has ended: its next is not begun
    before.
    """
    mailbox.take(ONLINE)
    mailbox.begin(ONLINE)
    mailbox.drop(ONLINE)
    held = dict(mailbox.held)
    mailbox.end(ONLINE)

    assert {ALICE: ONLINE} == held
    assert {} == mailbox.held


def test_a_later_transition_takes_the_place(mailbox: Mailbox, to_tell: list[Transition]) -> None:
    """
    Redis gives the next only when the one before is done with: the earlier does not begin, and its end is none of the
    later.
    """
    mailbox.take(ONLINE)
    mailbox.take(OFFLINE)
    mailbox.end(ONLINE)

    assert [ONLINE, OFFLINE] == to_tell
    assert {ALICE: OFFLINE} == mailbox.held
    assert (False, True) == (mailbox.begin(ONLINE), mailbox.begin(OFFLINE))


def test_what_has_begun_is_not_what_follows(mailbox: Mailbox) -> None:
    """
    That a transition has begun says nothing of the one that took its place: that is another node's when dropped.
    """
    mailbox.take(ONLINE)
    mailbox.begin(ONLINE)
    mailbox.take(OFFLINE)
    mailbox.told(ONLINE)
    mailbox.end(ONLINE)
    mailbox.drop(OFFLINE)

    assert {} == mailbox.held
    assert not mailbox.begin(OFFLINE)


def test_an_old_transition_is_not_taken_for_a_newer(mailbox: Mailbox, to_tell: list[Transition]) -> None:
    """
    An answer that was overtaken, with a transition from before the one that is held, is none.
    """
    mailbox.take(OFFLINE)
    mailbox.take(ONLINE)

    assert [OFFLINE] == to_tell
    assert {ALICE: OFFLINE} == mailbox.held


@pytest.mark.parametrize(
    ("act", "known"),
    [
        (lambda mailbox: None, UNKNOWN),
        (lambda mailbox: mailbox.learn(ALICE, Known(7, online=True)), Known(7, online=True)),
        (lambda mailbox: mailbox.take(ONLINE), Known(7, online=True)),
        (lambda mailbox: mailbox.told(ONLINE) or mailbox.learn(ALICE, Known(7, online=True)), Known(7, True, 7, True)),
        (lambda mailbox: mailbox.take(ONLINE) or mailbox.told(ONLINE), Known(7, True, 7, True)),
        (
            lambda mailbox: (
                mailbox.take(ONLINE) or mailbox.told(ONLINE) or mailbox.learn(ALICE, Known(8, online=False))
            ),
            Known(8, False, 7, True),
        ),
        (
            lambda mailbox: mailbox.learn(ALICE, Known(8, online=False)) or mailbox.learn(ALICE, Known(7, online=True)),
            Known(8, online=False),
        ),
        (lambda mailbox: mailbox.learn(BOB, Known(7, online=True)), UNKNOWN),
    ],
    ids=["nothing", "heard", "held", "told, then heard", "told", "told, and heard of a later", "late", "of another"],
)
def test_the_last_transition_is_known(mailbox: Mailbox, act: Callable[[Mailbox], object], known: Known) -> None:
    """
    What is known of a user is the last transition that was heard of, from wherever, and the last that was told here.
    """
    act(mailbox)

    assert known == mailbox.known(ALICE)


def test_who_was_not_heard_of_is_forgotten(mailbox: Mailbox, clock: Clock) -> None:
    """
    A minute and a grace after the last word of a user there is nothing left; a word meanwhile begins it anew.
    """
    mailbox.learn(ALICE, Known(7, online=True))
    mailbox.learn(BOB, Known(3, online=True))
    clock.now += REMEMBERED + GRACE - 1
    mailbox.learn(ALICE, Known(7, online=True))
    mailbox.forget(nobody)
    before = mailbox.known(BOB)
    clock.now += 1
    mailbox.forget(nobody)

    assert Known(3, online=True) == before
    assert UNKNOWN == mailbox.known(BOB)
    assert Known(7, online=True) == mailbox.known(ALICE)


def test_who_is_here_is_not_forgotten(mailbox: Mailbox, clock: Clock) -> None:
    """
    Who has a connection here, or a transition to be told here, is remembered however long it lasts, and a minute after.
    """
    mailbox.learn(ALICE, Known(7, online=True))
    mailbox.learn(CAROL, Known(9, online=True))
    mailbox.take(Transition(BOB, 3, online=True))
    for _ in range(5):
        clock.now += REMEMBERED + GRACE
        mailbox.forget(lambda stream: stream == ALICE)
    lasting = remembered(mailbox)
    mailbox.end(mailbox.held[BOB])
    clock.now += REMEMBERED + GRACE - 1
    mailbox.forget(nobody)
    a_minute_after = remembered(mailbox)
    clock.now += 1
    mailbox.forget(nobody)

    assert {ALICE, BOB} == lasting == a_minute_after
    assert set() == remembered(mailbox)


def test_redis_must_not_forget_who_went(mailbox: Mailbox, clock: Clock) -> None:
    """
    To be said again to a Redis that forgot: who was said to have gone, as long as that is remembered; and who may have
    gone and was not said to, for a grace and a lease. Who is online for longer is so elsewhere.
    """
    mailbox.learn(ALICE, Known(7, online=True))
    mailbox.learn(BOB, Known(4, online=False))
    clock.now += GRACE + LEASE - 1
    mailbox.learn(CAROL, Known(9, online=True))
    at_first = mailbox.of_the_gone()
    clock.now += 1
    later = mailbox.of_the_gone()
    clock.now += REMEMBERED - LEASE
    mailbox.forget(nobody)

    assert {ALICE, BOB, CAROL} == at_first
    assert {BOB, CAROL} == later
    assert set() == mailbox.of_the_gone()


def test_what_is_remembered_is_bounded(mailbox: Mailbox, clock: Clock) -> None:
    """
    Thousands who come and go leave nothing behind: neither memories nor transitions, told or dropped.
    """
    for number in range(1_000):
        transition = Transition(f"u:{number}", 1, online=True)
        mailbox.take(transition)
        if number % 2 and mailbox.begin(transition):
            mailbox.told(transition)
            mailbox.end(transition)
        else:
            mailbox.drop(transition)
    clock.now += REMEMBERED + GRACE
    mailbox.forget(nobody)

    assert ({}, set(), {}) == (mailbox.held, mailbox._begun, mailbox._memories)


def test_what_was_told_is_said_again_for_a_minute(mailbox: Mailbox, clock: Clock) -> None:
    """
    What was told here, of whichever kind, is known for a minute, though the user has gone elsewhere meanwhile: a Redis
    that forgot would have it told twice. What other nodes told later they forget later, so that it never is the last.
    """
    mailbox.take(ONLINE)
    mailbox.told(ONLINE)
    mailbox.end(ONLINE)
    clock.now += REMEMBERED - 1
    mailbox.learn(ALICE, Known(9, online=True))
    within = mailbox.of_the_gone(), mailbox.known(ALICE)
    clock.now += GRACE + LEASE + 1
    after = mailbox.of_the_gone(), mailbox.known(ALICE)

    assert ({ALICE}, Known(9, True, 7, True)) == within
    assert (set(), Known(9, online=True)) == after
