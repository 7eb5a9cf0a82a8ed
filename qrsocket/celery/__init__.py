"""The Celery side: jobs know the user who queued them, and can tell how they fare."""

from qrsocket.celery.asynchronous import async_task
from qrsocket.celery.jobs import job, notify_user
from qrsocket.celery.user import install

__all__ = ["async_task", "install", "job", "notify_user"]
