"""Suites that test with Celery's own pytest plugin, whose worker runs in a thread of the test's process."""

from pathlib import Path

from tests.testing.suites import run

SUITE = {
    "conftest.py": 'pytest_plugins = ["celery.contrib.pytest"]',
    "test_shop.py": """
import pytest
from celery import Task, shared_task
from celery.contrib.testing import tasks  # what its worker is asked whether it runs
from fastapi import FastAPI
from qrsocket import User
from qrsocket.celery import job, notify_user
from qrsocket.server import SocketRouter
from qrsocket.sync import socket
from qrsocket.testing import client


class InContext(Task):
    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)


@shared_task(base=InContext)
@notify_user(result=True)
def count(words: list[str]) -> int:
    for word in job.track(words):
        socket.send(word)
    return len(words)


router = SocketRouter("/live")
router.add_job("/count", count)
app = FastAPI()
app.include_router(router)


@pytest.fixture(scope="session")
def celery_config():
    return {"broker_url": "memory://", "result_backend": "cache+memory://"}


@pytest.mark.parametrize("words", [["to", "be"], ["or"]])
async def test_a_job(qrsocket_redis, celery_app, celery_worker, words):
    async with client(app, user="alice") as alice:
        answer = await alice.http.post("/live/count", json={"words": words})
        job = await alice.job_ends(answer.json()["id"])

        assert (job.state, job.result, job.done) == ("succeeded", len(words), len(words))
        assert words == [await alice.receives() for _ in words]
""",
}


def test_jobs_in_celerys_own_worker(tmp_path: Path) -> None:
    """
    A job that runs in `celery_worker` is told of to its end, in each test anew, and sends to its user.
    """
    output = run(tmp_path, SUITE)

    assert "2 passed" in output, output
