"""Flower beside a worker: it shows jobs as they are, and what is terminated there is told to its user."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest

from tests.clients import PATIENCE, Open
from tests.conftest import MS
from tests.tools.installed import need
from tests.tools.running import PYTHON, serving, web, worker
from tests.watching import watch

need("flower")

APP, JOBS = "tests.tools.shop:app", "tests.tools.shop:jobs"
FLOWER = (PYTHON, "-m", "celery", "-A", JOBS, "flower", "--address=127.0.0.1", "--port={port}")


@dataclass
class Flower:
    http: httpx2.AsyncClient

    async def workers(self) -> list[str]:
        return list((await self.http.get("/api/workers", params={"refresh": True})).json())

    async def terminate(self, job: str) -> None:
        answer = await self.http.post(f"/api/task/revoke/{job}", params={"terminate": True})
        assert answer.status_code == 200, answer.text

    async def shows(self, job: str, state: str) -> None:
        """Wait until it shows *job* in *state*: it hears of it by events."""
        async with asyncio.timeout(PATIENCE):
            while await self._state(job) != state:
                await asyncio.sleep(20 * MS)

    async def _state(self, job: str) -> str | None:
        answer = await self.http.get(f"/api/task/info/{job}")
        return answer.json()["state"] if answer.status_code == 200 else None


@pytest.fixture
async def flower(env: dict[str, str]) -> AsyncIterator[Flower]:
    with serving(FLOWER, {**env, "FLOWER_UNAUTHENTICATED_API": "true"}, ready="/healthcheck") as process:
        async with httpx2.AsyncClient(base_url=process.url, timeout=PATIENCE, trust_env=False) as http:
            yield Flower(http)


async def test_flower(env: dict[str, str], open_client: Open, flower: Flower) -> None:
    """
    It shows the worker, a job that has succeeded, and as revoked one that its user has cancelled. A job that is
    terminated there is cancelled to its user.
    """
    with web(APP, env) as node, worker(JOBS, env, options=["--task-events"]):
        alice = await watch(node, open_client)
        done = await alice.start("/count", words=[])
        await alice.sees_end_of(done)
        cancelled, terminated = await alice.start("/take-long"), await alice.start("/take-long")
        for job in (cancelled, terminated):
            await alice.sees(job, "started")
        await alice.cancel(cancelled)
        await flower.terminate(terminated)
        await alice.sees_end_of(cancelled, terminated)

        assert [["queued", "started", "cancelled"]] * 2 == [alice.states(job) for job in (cancelled, terminated)]
        assert 1 == len(await flower.workers())
        for job, state in ((done, "SUCCESS"), (cancelled, "REVOKED"), (terminated, "REVOKED")):
            await flower.shows(job, state)
