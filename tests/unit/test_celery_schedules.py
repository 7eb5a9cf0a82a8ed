"""What a worker says of the beat schedule of its application."""

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from celery.beat import ScheduleEntry
from celery.schedules import crontab, schedule

from qrsocket.celery.announcing import schedules_of
from qrsocket.jobs.census import Card, Scheduled


def said(entry: Any) -> list[tuple[str, str, str]]:
    app = Celery("scheduled", set_as_current=False)
    app.conf.beat_schedule = {"nightly": entry}
    return [(one.name, one.task, one.when) for one in schedules_of(app)]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (60, "every 60 s"),
        (0.5, "every 0.5 s"),
        (timedelta(minutes=2), "every 120 s"),
        (schedule(timedelta(days=1)), "every 86400 s"),
        (crontab(minute="0", hour="7"), "<crontab: 0 7 * * * (m/h/dM/MY/d)>"),
    ],
)
def test_when(when: Any, expected: str) -> None:
    """
    As Celery takes it: seconds, a timedelta, one of its schedules. Arguments are not said.
    """
    entry = {"task": "tidy", "schedule": when, "args": ("s3cret",), "kwargs": {"token": "s3cret"}}

    assert [("nightly", "tidy", expected)] == said(entry)


def test_an_entry_of_celery() -> None:
    """
    Also as an object.
    """
    entry = ScheduleEntry(name="nightly", task="tidy", schedule=schedule(60), app=Celery(set_as_current=False))

    assert [("nightly", "tidy", "every 60 s")] == said(entry)


@pytest.mark.parametrize("entry", [None, {}, {"task": "tidy"}, {"schedule": 60}, "tidy"])
def test_what_is_no_entry(entry: Any) -> None:
    """
    It is left out, and harms nobody.
    """
    assert [] == said(entry)


def test_no_schedule() -> None:
    """
    An application need not have one; and a card without it is read.
    """
    app = Celery("scheduled", set_as_current=False)
    card = Card("0.1.0", "box", 8, "prefork", 4, ("celery",), (Scheduled("nightly", "tidy", "every 60 s"),))

    assert [] == [*schedules_of(app)]
    assert card == Card.from_json(card.to_json())
    assert Card("0.1.0", "box", 8, "prefork", 4) == Card.from_json(
        b'{"version":"0.1.0","host":"box","pid":8,"pool":"prefork","concurrency":4}'
    )
