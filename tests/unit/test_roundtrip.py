"""A round trip's words, its script and its pauses, without Redis."""

import pytest

from qrsocket import roundtrip
from qrsocket.roundtrip import FIRST_PAUSE, LONGEST_PAUSE, Call, Script, _attempts, script_call
from tests.conftest import MS


class Clock:
    """Stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(roundtrip, "time", clock)
    return clock


@pytest.mark.parametrize("timeout", [0.0, 1 * MS, 50 * MS, 2.0, 10.0])
def test_pauses_end_before_the_deadline(timeout: float, clock: Clock) -> None:
    """
    The pauses together are shorter than the timeout, and None marks the one last attempt, also without any time.
    """
    started, pauses = clock.now, []
    for pause in _attempts(timeout):
        pauses.append(pause)
        clock.now += pause or 0.0

    assert pauses[-1] is None
    assert 1 == pauses.count(None)
    assert clock.now - started < timeout or pauses == [None]


def test_pauses_grow_to_a_limit(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The longest possible pause doubles from 10 ms up to 250 ms; a pause is anything between nothing and that.
    """
    asked: list[tuple[float, float]] = []

    def longest(least: float, most: float) -> float:
        asked.append((least, most))
        return most

    monkeypatch.setattr("random.uniform", longest)

    pauses = _attempts(1e9)

    assert [0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.25] == pytest.approx([next(pauses) for _ in range(7)])
    assert {0} == {least for least, _ in asked}
    assert (FIRST_PAUSE, LONGEST_PAUSE) == (asked[0][1], asked[-1][1])


def test_time_lost_in_an_attempt_counts(clock: Clock) -> None:
    """
    An attempt that took the whole timeout is followed by no pause, and by one last attempt.
    """
    pauses = _attempts(2.0)
    next(pauses)
    clock.now += 2.0

    assert [None] == list(pauses)


def test_a_plain_command_is_sent_as_it_is() -> None:
    """
    A Call without a script sends its words, with and without NOSCRIPT.
    """
    call = Call(("GET", "key"), bytes)

    assert ("GET", "key") == call.words == call.words_with_source


def test_a_script_is_sent_by_its_digest() -> None:
    """
    A script goes as EVALSHA with Redis' own SHA-1 of it, and as EVAL when Redis does not have it.

    Source: https://redis.io/docs/latest/commands/script-load/ (digest of "return 1")
    """
    call = script_call(Script("return 1"), ["k1", "k2"], ["a", 2], int)

    assert ("EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 2, "k1", "k2", "a", 2) == call.words
    assert ("EVAL", "return 1", 2, "k1", "k2", "a", 2) == call.words_with_source


@pytest.mark.parametrize(
    ("package", "name", "prelude", "first_line"),
    [
        ("qrsocket.presence", "attach", ("transition",), "#!lua flags=allow-oom"),
        ("qrsocket.presence", "online", (), "#!lua flags=no-writes"),
        ("qrsocket.fanout", "publish", (), "#!lua"),
    ],
)
def test_a_script_is_loaded_with_its_preludes(
    package: str, name: str, prelude: tuple[str, ...], first_line: str
) -> None:
    """
    The flags come first, as Redis wants; then the key names, the neighbours, and the script's own text without flags.
    """
    script = Script.load(package, name, *prelude)
    lines = script.source.splitlines()

    assert first_line == lines[0]
    assert 1 == script.source.count("#!lua")
    assert "-- The key names of keys.py, for scripts." == lines[1]
    assert bool(prelude) == ("local function settle(" in script.source)
    assert script is Script.load(package, name, *prelude)
