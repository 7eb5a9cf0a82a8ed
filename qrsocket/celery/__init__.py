"""The Celery side: jobs know the user who queued them, and can tell how they fare."""

from qrsocket.celery.asynchronous import async_task
from qrsocket.celery.current_job import job
from qrsocket.celery.notify import notify_user
from qrsocket.celery.run import JobCancelled
from qrsocket.celery.signals import install

__all__ = ["JobCancelled", "async_task", "install", "job", "notify_user"]
