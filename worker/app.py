"""The Celery application, for `celery -A worker.app worker` and `beat`. The web side imports it to queue jobs."""

import os

from celery import Celery

from qrsocket.celery import install
from worker.store import DATA, UPLOADS

# CELERY_BROKER_URL, which Celery itself reads, goes before this.
REDIS_URL = os.environ.get("QRSOCKET_REDIS_URL", "redis://localhost:6379/0")
STOP_SECONDS = float(os.environ.get("EXAMPLE_STOP_SECONDS", "5"))
SUMMARY_SECONDS = float(os.environ.get("EXAMPLE_SUMMARY_SECONDS", "60"))

UPLOADS.mkdir(parents=True, exist_ok=True)  # here, since every process of the example comes by

app = Celery("worker", broker=REDIS_URL.replace("valkey", "redis", 1), include=["worker.tasks"])
app.conf.update(
    task_ignore_result=True,  # the user is told over the socket, and nobody asks for results
    broker_connection_retry_on_startup=True,
    # Without these, `.delay()` waits for a broker that does not answer until TCP gives up, which takes minutes.
    broker_transport_options={
        "socket_timeout": 2,
        "socket_connect_timeout": 1,
        "socket_keepalive": True,
        "health_check_interval": 10,
    },
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0.2},
    # On SIGTERM (as SIGQUIT, with REMAP_SIGTERM) running jobs have so long; then they go back to the queue.
    worker_soft_shutdown_timeout=STOP_SECONDS,
    beat_sync_every=1,  # its file shows that it lives: the container's health check looks at its age
    beat_schedule_filename=str(DATA / "beat"),
    beat_schedule={
        "summary": {
            "task": "worker.tasks.send_summary",
            "schedule": SUMMARY_SECONDS,
            "options": {"expires": SUMMARY_SECONDS},  # after a pause of the worker, the last one is enough
        },
    },
)
install(app)
