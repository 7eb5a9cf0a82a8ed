"""How Celery learns that a job was cancelled: its result, its chord, its chain, and monitors such as Flower."""

from typing import Any

from celery import states
from celery.exceptions import Ignore, TaskRevokedError

from qrsocket.logger import Logger

logger = Logger(__name__)


def revoked(task: Any, reason: str) -> Ignore:
    """
    Let *task*, which runs here, be revoked to Celery as by `revoke()`, and so are those that follow it in its chain.

    Returns:
        What its function is to raise. Alone it would leave the result pending, and a chord waiting, for ever.
    """
    request = task.request
    is_stored = not request.ignore_result and (not request.is_eager or bool(task.store_eager_result))
    try:
        # No errbacks, since a revoked task calls none. `mark_as_revoked` would forget the chain.
        task.backend.mark_as_failure(
            request.id,
            TaskRevokedError(reason),
            request=request,
            store_result=is_stored,
            call_errbacks=False,
            state=states.REVOKED,
        )
        # Also where nobody may hear it: monitors have workers send events at any time, and its children are not told.
        if task.send_events and not request.is_eager:
            task.send_event("task-revoked", terminated=False, signum=None, expired=False)
    except Exception:  # of the result backend, or of the broker: the job is cancelled all the same
        logger.exception("cancelled job not revoked in Celery", job=request.id, task=task.name)
    return Ignore(reason)
