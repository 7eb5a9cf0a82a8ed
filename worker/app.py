"""The Celery application, for `celery -A worker.app worker` and `beat`. The web side imports it to queue jobs."""

import os

from celery import Celery
from celery.signals import worker_init

from qrsocket.celery import install
from worker.store import DATA, UPLOADS

# CELERY_BROKER_URL, which Celery itself reads, goes before this.
REDIS_URL = os.environ.get("QRSOCKET_REDIS_URL", "redis://localhost:6379/0")
STOP_SECONDS = float(os.environ.get("EXAMPLE_STOP_SECONDS", "5"))
# A killed worker's job comes back after so long. So does one that takes longer, beside itself: an import takes seconds.
VISIBILITY_SECONDS = float(os.environ.get("EXAMPLE_VISIBILITY_SECONDS", "60"))
SUMMARY_SECONDS = float(os.environ.get("EXAMPLE_SUMMARY_SECONDS", "60"))
# The assistant's pause after each word.
WORD_SECONDS = float(os.environ.get("EXAMPLE_WORD_SECONDS", "0.08"))
PRUNE_SECONDS = 3600.0

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
        "visibility_timeout": VISIBILITY_SECONDS,
        # Workers look each second what is to come back, not each minute or two.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 10,  # a worker that is killed while it looks holds a lock
    },
    worker_prefetch_multiplier=1,  # what a worker holds without having begun it would come back, too
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
        "uploads": {
            "task": "worker.tasks.remove_old_uploads",
            "schedule": PRUNE_SECONDS,
            "options": {"expires": PRUNE_SECONDS},
        },
    },
)
install(app)

if METRICS_PORT := int(os.environ.get("METRICS_PORT", "0")):
    from qrsocket.prometheus import collect, serve_metrics

    collect()  # in each process of the pool, too

    @worker_init.connect
    def _serve_metrics(**_: object) -> None:
        serve_metrics(METRICS_PORT, "0.0.0.0")  # noqa: S104 - of its container
