"""What one run of a job has to say, and what it was told; without Redis."""

from typing import Any

import pytest

from qrsocket.celery.run import INTERVAL, MOST_IN_A_PIECE, MOST_UNWRITTEN, REPEAT, Run, current_run, running
from qrsocket.jobs.table import Advanced, Answer, JobKey
from qrsocket.settings import Settings


def a_run() -> Run:
    return Run(Settings(), JobKey("u:alice", "j1"), {}, lambda: None)


def test_a_cancelled_run_stays_cancelled() -> None:
    """
    A run that is to stop is to stop also when Redis forgot its job, and hears of it anew.
    """
    run = a_run()
    run.is_cancelled = True

    run.take_answer(Advanced(Answer.OK, 7, {"state": "started"}))

    assert run.is_cancelled
    assert 7 == run.fence


def test_a_run_whose_job_was_cancelled_before() -> None:
    """
    A run that hears late that its job was cancelled while it waited is to stop, and nobody is told of it.
    """
    run = a_run()

    run.take_answer(Advanced(Answer.OVER, 0, {"state": "cancelled"}))

    assert (True, True) == (run.is_cancelled, run.is_muted)


class Odd:
    def __str__(self) -> str:
        raise RuntimeError("sesame")

    def __float__(self) -> float:
        raise RuntimeError("sesame")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ((1, 2, "half"), (1, 2, "half")),
        ((0.5, 2.0, None), (0.5, 2, None)),
        ((float("nan"), float("inf"), "\ud800"), (None, None, "?")),
        ((Odd(), "x", Odd()), (None, None, "")),
        ((1, None, "x" * 1000), (1, None, "x" * 500)),
    ],
    ids=range(5),
)
def test_progress_is_what_can_be_told(said: tuple[Any, Any, Any], told: tuple[Any, Any, Any]) -> None:
    """
    Whatever a job says of its progress, what is told can be: the others are told in the same breath.
    """
    run = a_run()
    run.advance(*said)

    assert told == tuple(run.progress.values())


def test_a_piece_is_the_same_until_it_was_written() -> None:
    """
    What is to be written is sealed when it is tried: what is written meanwhile comes after it, in the next piece.
    """
    run = a_run()
    run.write("one ")
    first = run.piece()
    run.write("two ")
    again = run.piece()
    run.written(5)

    assert (1, "one ") == first == again
    assert (2, "two ") == run.piece()
    assert 5 == run.chunks


def test_progress_is_told_ten_times_a_second() -> None:
    """
    News are due at once, or a tenth of a second after the last; without any, only a sign of life.
    """
    run = a_run()
    run.advance(1, 2, None)
    now = 1000.0
    assert run.due_in(now, 1.0) <= 0

    beat = run.beat(now)
    run.advance(2, 2, None)

    assert {"done": 1, "total": 2, "message": None} == beat.progress
    assert INTERVAL == pytest.approx(run.due_in(now, 1.0))


def test_what_a_run_is_told_of_its_end() -> None:
    """
    One that is cancelled knows it when it looks, and from then on cleans up.
    """
    run = a_run()
    before = run.looks(), run.is_stopping
    run.is_cancelled = True

    assert ((False, False), True) == (before, run.looks())
    assert run.is_stopping


def test_what_came_before_it_could_begin() -> None:
    """
    It is raised where the function would have been called; otherwise nothing is.
    """
    run = a_run()
    run.raise_what_came()
    run.raised = KeyError("x")

    with pytest.raises(KeyError):
        run.raise_what_came()


def test_the_watcher_is_woken_once() -> None:
    """
    A job that says a thousand times how far it is wakes the watcher once, until it was told.
    """
    woken: list[int] = []
    run = Run(Settings(), JobKey("u:alice", "j1"), {}, lambda: woken.append(1))
    for number in range(1000):
        run.advance(number, 1000, None)
    once = len(woken)
    run.beat(1000.0)
    run.advance(1000, 1000, None)

    assert (1, 2) == (once, len(woken))


def test_the_same_progress_is_told_again_after_a_while() -> None:
    """
    Who was catching up has not heard it.
    """
    run = a_run()
    run.advance(1, 2, None)
    beats = [run.beat(at) for at in (1000.0, 1000.0 + REPEAT, 1000.1 + REPEAT)]

    assert [True, False, True] == [beat.progress is not None for beat in beats]
    assert pytest.approx(1.0) == run.due_in(1000.1 + REPEAT, 1.0)


def test_pieces_are_small() -> None:
    """
    What is more than a piece waits for the next one; a writer that is far ahead has to wait.
    """
    run = a_run()
    is_ahead = run.write("x" * (MOST_UNWRITTEN + 1))
    first = run.piece()
    run.written(1)
    second = run.piece()

    assert (True, False) == (is_ahead, a_run().write("x"))
    assert [(1, MOST_IN_A_PIECE), (2, MOST_IN_A_PIECE)] == [
        (piece[0], len(piece[1])) for piece in (first, second) if piece is not None
    ]


def test_a_muted_run_writes_nothing() -> None:
    """
    Another run of the job counts; one that has nothing to write has no piece.
    """
    run = a_run()
    nothing = run.piece()
    run.write("text")
    run.is_muted = True

    assert (None, None) == (nothing, run.piece())


def test_the_run_that_job_speaks_of() -> None:
    """
    The innermost that runs, and none outside.
    """
    outer, inner = a_run(), a_run()
    with running(outer):
        with running(inner):
            innermost = current_run()
        around = current_run()

    assert (inner, outer, None) == (innermost, around, current_run())
