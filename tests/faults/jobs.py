"""
The Celery side of a fault run: a job that sends several messages, and one that its user watches.

Both are done again when their worker was killed.
"""

import os
import time
from collections.abc import Sequence
from functools import cache

from celery import Celery, Task

from qrsocket import SocketError, Unavailable
from qrsocket.celery import install, job, notify_user
from qrsocket.sync import socket
from tests.faults.conditions import apply_mutation, end_with_driver, folder
from tests.faults.history import Recorder
from tests.faults.messages import payload, recipients

REDIS_URL = os.environ["QRSOCKET_REDIS_URL"]
PAUSE = 0.1

end_with_driver()
apply_mutation()

jobs = Celery("faults", broker=REDIS_URL)
jobs.conf.update(
    task_ignore_result=True,
    task_publish_retry=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_prefetch_multiplier=1,
    broker_transport_options={
        # Seconds until the job of a killed worker is done by another, which looks for such each second.
        "visibility_timeout": 5,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 10,
        "socket_timeout": 2,
        "socket_connect_timeout": 1,
        "socket_keepalive": True,
        "health_check_interval": 10,
    },
)
install(jobs)


@jobs.task(bind=True, acks_late=True)
def send_all(self: Task, to: Sequence[str], pad_bytes: Sequence[int]) -> None:
    """
    Send *to* a message for each of *pad_bytes*.

    Done again, it sends the same again, with the ids that the library gives: each must arrive once. It ends with the
    first unknown outcome: what it would send after that could overtake it when the job is done again.
    """
    recorder = _recorder(os.getpid())
    sender = f"job:{self.request.id}"
    for n, size in enumerate(pad_bytes, 1):
        id = f"{self.request.id}-{n}"
        recorder.record("send", sender=sender, n=n, id=id, to=list(to), kept=True, but="")
        try:
            delivery = recipients(socket, to).send(payload(id, sender, n, to, pad_bytes=size), keep=True)
        except Unavailable as error:
            recorder.record("unknown", id=id, cause=error.cause)
            return
        recorder.record("sent", id=id, connections=delivery.connections)
        time.sleep(PAUSE)  # its work, in the midst of which its worker may be killed


@jobs.task(bind=True, acks_late=True)
@notify_user
def work(self: Task, steps: int, *, fails: bool) -> None:
    """Be watched: *steps* of a tenth of a second, and then an end."""
    for _ in job.track(range(steps), message="at work"):
        time.sleep(PAUSE)
    if fails:
        raise SocketError("it cannot be done")


@cache
def _recorder(pid: int) -> Recorder:
    return Recorder(folder(), f"worker-{pid}")
