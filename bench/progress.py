"""
What progress costs a job: 10 000 steps of work, with a word of progress for each and with none.

    python -m bench.progress

A job of 10 000 steps is run in one worker (prefork, one child), with and without, in turn. The figure is the median of
the ratios of each pair's CPU time: of the whole process, so that the thread that tells it is in it. 1.05 is the limit.
"""

import os
import time
from statistics import median

from celery import Celery

from qrsocket.celery import install, job, notify_user
from qrsocket.context import Context, running_for
from qrsocket.embedded_redis import embedded_redis
from tests.running import worker

STEPS, ROUNDS = 10_000, 15
WORK = range(4_000)  # about 60 µs: to parse a row, say

app = install(Celery("bench", broker=os.environ.get("QRSOCKET_REDIS_URL")))
app.conf.result_backend = app.conf.broker_url


@app.task(name="run")  # `python -m` names the module differently
@notify_user
def run(how: str) -> float:
    """Return the seconds of CPU that the steps took."""
    began = time.process_time()
    if how == "track":
        for _ in job.track(range(STEPS)):
            sum(WORK)
    elif how == "progress":
        for done in range(STEPS):
            sum(WORK)
            job.progress(done + 1, STEPS)
    else:
        for _ in range(STEPS):
            sum(WORK)
    return time.process_time() - began


def measure(how: str) -> float:
    with running_for(Context(user="alice")):
        return float(run.delay(how).get(timeout=60))


def main() -> None:
    with embedded_redis() as server:
        os.environ["QRSOCKET_REDIS_URL"] = server.url
        app.conf.update(broker_url=server.url, result_backend=server.url)
        with worker(app="bench.progress", concurrency=1):
            measure("without")
            rounds = [[measure(how) for how in ("without", "progress", "track")] for _ in range(ROUNDS)]
    for column, name in ((1, "job.progress"), (2, "job.track")):
        ratios = sorted(times[column] / times[0] for times in rounds)
        each_us = median(times[column] - times[0] for times in rounds) / STEPS * 1e6
        print(f"{name}: {median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}), {each_us:+.2f} µs a step")


if __name__ == "__main__":
    main()
