"""A round trip's words, its script and its pauses, without Redis."""

import builtins
from pathlib import Path

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    MaxConnectionsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from qrsocket import Unavailable, patience, roundtrip
from qrsocket.failures import has_answered
from qrsocket.patience import FIRST_PAUSE, LONGEST_PAUSE, Patience
from qrsocket.roundtrip import Call, Script, script_call
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
    for module in (roundtrip, patience):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.mark.parametrize("timeout", [1 * MS, 50 * MS, 2.0, 10.0], ids=["1 ms", "50 ms", "2 s", "10 s"])
def test_a_lost_connection_is_tried_again_until_the_deadline(timeout: float, clock: Clock) -> None:
    """
    After each pause there is time for another attempt, up to the last 2 ms; then it is Unavailable.
    """
    started, patience = clock.now, Patience(timeout)

    def fail_for_ever() -> None:
        while True:
            clock.now += patience.pause_after(ConnectionError())
            assert patience.left() > 0

    with pytest.raises(Unavailable, match="ConnectionError"):
        fail_for_ever()
    assert timeout - 2 * MS <= clock.now - started < timeout


def test_pauses_grow_to_a_limit(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The longest possible pause doubles from 10 ms up to 250 ms; a pause is anything between nothing and that.
    """
    asked: list[tuple[float, float]] = []

    def longest(least: float, most: float) -> float:
        asked.append((least, most))
        return most

    monkeypatch.setattr("random.uniform", longest)
    patience = Patience(1e9)

    pauses = [patience.pause_after(ConnectionError()) for _ in range(7)]

    assert [0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.25] == pytest.approx(pauses)
    assert {0} == {least for least, _ in asked}
    assert (FIRST_PAUSE, LONGEST_PAUSE) == (asked[0][1], asked[-1][1])


def test_time_lost_in_an_attempt_counts(clock: Clock) -> None:
    """
    An attempt that took the whole timeout is the last, and several calls have one timeout together.
    """
    patience = Patience(2.0)
    clock.now += 1.5
    left = patience.left()
    clock.now += 0.5

    assert 0.5 == left
    with pytest.raises(Unavailable, match=r"within 2 s \(no time is left\)"):
        patience.left()
    with pytest.raises(Unavailable, match="no answer"):
        patience.pause_after(TimeoutError())


def test_a_pause_that_takes_too_long(clock: Clock) -> None:
    """
    When the time is over after a pause, the error says what went wrong before it.
    """
    patience, failure = Patience(2.0), ConnectionError()
    clock.now += patience.pause_after(failure) + 2.0

    with pytest.raises(Unavailable, match="ConnectionError") as raised:
        patience.left()
    assert failure is raised.value.__cause__


def test_one_attempt_of_a_long_wait(clock: Clock) -> None:
    """
    With a limit for one attempt, none takes longer, and the last what is left.
    """
    patience = Patience(5.0, attempt=2.0)
    first = patience.left()
    clock.now += 4.0

    assert (2.0, 1.0) == (first, patience.left())


@pytest.mark.parametrize(
    ("error", "cause", "is_tried_again", "with_wait"),
    [
        (ConnectionError(), "ConnectionError", True, True),
        (BusyLoadingError(), "BusyLoadingError", True, True),
        (MaxConnectionsError(), "MaxConnectionsError", True, True),
        (TimeoutError(), "no answer", True, True),
        (builtins.TimeoutError(), "no answer", True, True),
        (OutOfMemoryError("command not allowed"), "OOM", False, True),
        (ReadOnlyError("You can't write"), "READONLY", True, True),
        (ResponseError("MISCONF unable to persist"), "MISCONF", False, True),
        (AuthenticationError("invalid username-password pair"), "refuses the user name or the password", False, False),
        (NoPermissionError("no permissions"), "Redis does not permit it", False, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_is_tried_again(error: Exception, cause: str, is_tried_again: bool, with_wait: bool) -> None:
    """
    What may pass is tried again: a lost connection always, a refusal if the caller said how long. A password never.
    """
    for attempt, again in ((None, is_tried_again), (2.0, with_wait)):
        patience = Patience(10.0, attempt=attempt)
        if again:
            assert 0 <= patience.pause_after(error) <= FIRST_PAUSE
        else:
            with pytest.raises(Unavailable, match=cause):
                patience.pause_after(error)


@pytest.mark.parametrize("error", [ResponseError("ERR unknown command"), RedisError("odd")])
def test_a_fault_of_the_call_is_raised(error: RedisError) -> None:
    """
    What is wrong with the call itself is raised as it is, however long the caller would wait.
    """
    with pytest.raises(type(error)) as raised:
        Patience(10.0, attempt=2.0).pause_after(error)

    assert error is raised.value


@pytest.mark.parametrize(
    ("cause", "answered"),
    [
        (ConnectionError(), False),
        (BusyLoadingError(), False),
        (TimeoutError(), False),
        (builtins.TimeoutError(), False),
        (OutOfMemoryError(), True),
        (ResponseError("MISCONF"), True),
        (AuthenticationError(), None),
        (MaxConnectionsError(), None),
        (None, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_an_error_says_of_redis(cause: Exception | None, answered: bool | None) -> None:
    """
    Redis that refuses has answered; a wrong password or too many threads say nothing of it.
    """
    error = Unavailable("why", 2.0)
    error.__cause__ = cause

    assert answered is has_answered(error)


@pytest.mark.parametrize(("error", "answered"), [(None, True), (ResponseError(), True), (KeyboardInterrupt(), None)])
def test_what_an_end_says_of_redis(error: BaseException | None, answered: bool | None) -> None:
    """
    A result and an error of the call are answers, a call that was broken off is not.
    """
    assert answered is has_answered(error)


def test_a_plain_command_is_sent_as_it_is() -> None:
    """
    A Call without a script sends its words, with and without NOSCRIPT.
    """
    call = Call(("GET", "key"), bytes)

    assert ("GET", "key") == call.words == call.words_with_source


def test_a_script_is_sent_by_its_digest() -> None:
    """
    A script goes as EVALSHA with Redis' own SHA-1 of it, and when Redis does not have it as EVAL, which the script can
    tell by its first key being there twice.

    Source: https://redis.io/docs/latest/commands/script-load/ (digest of "return 1")
    """
    call = script_call(Script("return 1"), ["k1", "k2"], ["a", 2], int)

    assert ("EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 2, "k1", "k2", "a", 2) == call.words
    assert ("EVAL", "return 1", 3, "k1", "k1", "k2", "a", 2) == call.words_with_source


@pytest.mark.parametrize(
    ("name", "settles", "first_line"),
    [
        ("presence/attach", 1, "#!lua flags=allow-oom"),
        ("presence/online", 0, "#!lua flags=allow-oom"),
        ("fanout/publish", 0, "#!lua"),
    ],
)
def test_a_script_is_loaded_with_what_it_includes(name: str, settles: int, first_line: str) -> None:
    """
    The flags come first, as Redis wants, then the keys that it is for; each file that is included is there once, and in
    what is included itself.
    """
    script = Script.load(name, base="app:")
    lines = script.source.splitlines()

    assert [first_line, "-- app:"] == lines[:2]
    assert 1 == script.source.count("#!lua")
    assert settles == script.source.count("local function detect(")
    assert 1 >= script.source.count("local epoch =")
    assert "--include" not in script.source
    assert script is Script.load(name, base="app:")


def test_no_script_runs_on_a_replica() -> None:
    """
    No script says `no-writes`: after a failover a replica would go on to answer it.
    """
    scripts = list(Path(roundtrip.__file__).parent.rglob("*.lua"))

    assert len(scripts) > 10
    assert [] == [script.name for script in scripts if "no-writes" in script.read_text().partition("\n")[0]]
