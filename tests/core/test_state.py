"""Of jobs and members the newest state counts: a node notices that it has missed a change, and reads it all."""

import pytest
from pydantic_core import from_json

from qrsocket.position import Position
from qrsocket.server.state import Members, State


def at(offset: int, epoch: str = "e") -> Position:
    return Position(epoch, offset)


def test_the_first_change_is_where_it_begins() -> None:
    """
    Before anything is known nothing can be missed.
    """
    state = State()

    assert state.heard(at(7))
    assert (at(7), False) == (state.position, state.is_stale)


def test_changes_that_follow_each_other() -> None:
    """
    Each is one more than the one before.
    """
    state = State()
    state.read(at(7))

    assert [True, True] == [state.heard(at(8)), state.heard(at(9))]
    assert (at(9), False) == (state.position, state.is_stale)


@pytest.mark.parametrize("position", [at(7), at(6), at(1)])
def test_an_old_change_is_known(position: Position) -> None:
    """
    What is in the state already, since it was read after it, is no news and nothing is missed.
    """
    state = State()
    state.read(at(7))

    assert not state.heard(position)
    assert (at(7), False) == (state.position, state.is_stale)


@pytest.mark.parametrize("position", [at(9), at(8, "another"), at(1, "another")])
def test_a_change_that_was_missed(position: Position) -> None:
    """
    One that does not follow, or that is of another life of Redis, says that the state must be read; until it is, no
    later one counts.
    """
    state = State()
    state.read(at(7))

    assert not state.heard(position)
    assert state.is_stale
    assert not state.heard(Position(position.epoch, position.offset + 1))
    state.read(position)
    assert (position, False) == (state.position, state.is_stale)


@pytest.mark.parametrize("position", [at(8), at(9), at(1, "another")])
def test_what_redis_has_counted_and_was_not_heard(position: Position) -> None:
    """
    Also a single change that would follow was missed, if all that is known is that there is one; old ones were not.
    """
    state = State()
    state.compare(position)
    before = state.position, state.is_stale
    state.read(at(7))
    state.compare(at(7))
    state.compare(at(6))
    known = state.position, state.is_stale
    state.compare(position)

    assert (None, False) == before
    assert (at(7), False) == known
    assert (at(7), True) == (state.position, state.is_stale)


def members(*users: str) -> Members:
    known = Members()
    known.read(at(7))
    known.replace(frozenset(users), is_certain=True)
    known.take_untold()
    return known


def test_who_comes_and_goes_is_told_once() -> None:
    """
    Changes are collected until they are told; nobody is told twice.
    """
    known = members("ada")
    known.change(["bob", "eve"], ["ada"])

    assert (["bob", "eve"], ["ada"]) == known.take_untold()
    assert ([], []) == known.take_untold()
    assert {"bob", "eve"} == known.users


def test_who_comes_and_goes_between_two_tellings() -> None:
    """
    What happened last is told.
    """
    known = members("ada")
    known.change(["bob"], ["ada"])
    known.change(["ada"], ["bob"])

    assert (["ada"], ["bob"]) == known.take_untold()
    assert {"ada"} == known.users


def test_a_list_that_was_read_says_what_was_missed() -> None:
    """
    Who is new in it has come, who is not in it any more has gone, and the others are no news.
    """
    known = members("ada", "bob")
    known.replace(frozenset({"bob", "eve"}), is_certain=True)

    assert (["eve"], ["ada"]) == known.take_untold()
    assert {"bob", "eve"} == known.users


def test_a_list_that_may_be_short() -> None:
    """
    Shortly after Redis was lost somebody who is not in it may be there all the same: nobody is taken for gone.
    """
    known = members("ada", "bob")
    known.replace(frozenset({"eve"}), is_certain=False)

    assert (["eve"], []) == known.take_untold()
    assert {"ada", "bob", "eve"} == known.users


@pytest.mark.parametrize(
    ("heard", "is_stale"), [(at(9), False), (at(10), False), (at(11), True), (at(9, "another"), True), (None, False)]
)
def test_what_is_heard_while_the_list_is_read(heard: Position | None, is_stale: bool) -> None:
    """
    A change that is newer than the list is not in it, and the list is stale at once; before anything is known, a change
    is not taken for where it begins.
    """
    known = Members()
    known.begin_reading()
    if heard is not None:
        assert not known.heard(heard)
    before = known.position
    known.read(at(10))

    assert before is None
    assert (at(10), is_stale) == (known.position, known.is_stale)
    known.begin_reading()
    known.read(at(10))
    assert not known.is_stale


@pytest.mark.parametrize(
    ("users", "user", "listed"),
    [
        ((), None, []),
        ((), "ada", ["ada"]),
        (("bob",), "ada", ["bob", "ada"]),
        (("ada",), "ada", ["ada"]),
        (("bob",), None, ["bob"]),
    ],
)
def test_who_joins_is_in_the_list(users: tuple[str, ...], user: str | None, listed: list[str]) -> None:
    """
    The list of members has whoever asks, though the others are told a moment later.
    """
    assert listed == from_json(members(*users).listed(user))


def test_a_list_is_written_once() -> None:
    """
    Until somebody comes or goes, it is the same for all who ask.
    """
    known = members("ada", "bob")
    first, second = known.listed("ada"), known.listed("bob")
    known.change([], ["bob"])

    assert first is second
    assert ["ada"] == from_json(known.listed("ada"))


def test_what_is_heard_while_the_list_is_read_counts_once() -> None:
    """
    The newest change that was heard of counts, in whatever order they come.
    """
    known = members("ada")
    known.begin_reading()
    known.heard(at(9))
    known.heard(at(8))
    known.read(at(8))

    assert known.is_stale
