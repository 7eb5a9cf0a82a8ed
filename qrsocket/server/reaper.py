"""Looks after the jobs of workers that were killed: whichever web node comes first decides about them."""

import asyncio
import random

from qrsocket import clients
from qrsocket.jobs.noting import note_job
from qrsocket.jobs.table import Jobs
from qrsocket.keys import Keyspace
from qrsocket.roundtrip import arun
from qrsocket.settings import Settings
from qrsocket.trouble import Trouble


async def reap_jobs(settings: Settings, trouble: Trouble) -> None:
    """Reap without end."""
    while True:
        with trouble.noted("jobs"):
            for keys in Keyspace.of(settings).shards:
                call, more = Jobs(keys, settings).reap(), True
                while more:
                    overdue = await arun(clients.awaiting(settings), call, timeout=settings.redis_timeout)
                    more = overdue.more
                    for owner, job in overdue.jobs:
                        note_job(owner, job)
        await asyncio.sleep(random.uniform(0.9, 1.1) * settings.renew_interval)  # noqa: S311 - spreads the load
