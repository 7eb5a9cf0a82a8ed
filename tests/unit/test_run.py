"""What one run of a job has to say, and what it was told; without Redis."""

from typing import Any

import pytest

from qrsocket.celery.run import INTERVAL, Run
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

    run.heed(Advanced(Answer.OK, 7, {"state": "started"}))

    assert run.is_cancelled
    assert 7 == run.fence


def test_a_run_whose_job_was_cancelled_before() -> None:
    """
    A run that hears late that its job was cancelled while it waited is to stop, and nobody is told of it.
    """
    run = a_run()

    run.heed(Advanced(Answer.OVER, 0, {"state": "cancelled"}))

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
