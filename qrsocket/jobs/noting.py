"""Tells the log, and those who observe, of the states that jobs enter."""

from typing import Any

from qrsocket import events
from qrsocket.events import JobChanged
from qrsocket.logger import Logger
from qrsocket.streams import Stream, user_of

logger = Logger(__name__)


def note_job(owner: Stream, job: dict[str, Any]) -> None:
    """
    Args:
        job: As its owner sees it.
    """
    user, attempt = user_of(owner), job.get("attempt") or 1
    logger.debug("job changed", job=job["id"], task=job["task"], user=user, state=job["state"], attempt=attempt)
    if events.observers:
        about = (job["id"], job["task"], user, job["state"], attempt)
        events.notify(JobChanged(*about, _seconds(job)))


def _seconds(job: dict[str, Any]) -> float | None:
    """Return how long it has waited, if it has begun for the first time, or has run, if it is over."""
    queued_at, started_at, ended_at = (job.get(name) for name in ("queued_at", "started_at", "ended_at"))
    if started_at is None:
        return None
    if ended_at is not None:
        return float(ended_at - started_at)
    is_first = job["state"] == "started" and (job.get("attempt") or 1) == 1 and queued_at is not None
    return float(started_at - queued_at) if is_first else None
