"""What is said to the state machine of a job, from the process where it happens."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from qrsocket.celery.run import Run
from qrsocket.errors import Unavailable
from qrsocket.jobs.table import Advanced, JobKey, Jobs
from qrsocket.keys import Keyspace
from qrsocket.sender.ask import ask_blocking
from qrsocket.settings import get_settings

logger = logging.getLogger(__name__)


def jobs_of(key: JobKey) -> Jobs:
    settings = get_settings()
    return Jobs(Keyspace.of(settings).of_audience(key.owner), settings)


def say(event: str, key: JobKey, said: Mapping[str, Any]) -> Advanced:
    """
    Raises:
        Unavailable: Redis did not answer. It may or may not have heard it, and takes it again.
    """
    return ask_blocking(get_settings(), [jobs_of(key).advance(event, key, said)])[0]


def say_queued(key: JobKey, said: Mapping[str, Any]) -> None:
    with suppress(Unavailable):  # it is known when it starts
        say("queued", key, said)


def write_pieces(run: Run) -> None:
    """
    Write what *run* has to write.

    Raises:
        Unavailable: Redis did not answer.
    """
    with run.writing:
        for number, text in run.pieces():
            if not run.is_muted:
                ask_blocking(get_settings(), [jobs_of(run.key).write(run.key, run.token, number, text)])
