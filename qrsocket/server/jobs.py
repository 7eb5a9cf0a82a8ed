"""A user's own jobs, for who asks over the socket or by HTTP. Whoever asks is the owner: nobody names another."""

from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel, Field

from qrsocket import clients
from qrsocket.jobs.noting import note_job
from qrsocket.jobs.table import Advanced, Answer, JobKey, Jobs, Omitted, State
from qrsocket.keys import Keyspace
from qrsocket.roundtrip import arun
from qrsocket.server.runtime import Node
from qrsocket.streams import Stream

NO_SUCH_JOB = "No such job"


class JobShown(BaseModel):
    """A job as its owner sees it. Times are Unix seconds."""

    id: str
    task: str
    title: str | None = None
    state: State
    seq: int = Field(description="Grows with each change of the job.")
    attempt: int = Field(description="1, then 2 for the first retry.")
    place: int | None = Field(None, description="Jobs before it in its queue, as far as they are known.")
    done: int | float | None = None
    total: int | float | None = None
    percent: int | None = None
    message: str | None = None
    cancelling: bool = Field(False, description="The owner wants it to stop, and it still runs.")
    error: str | None = None
    reason: str | None = None
    result: Any = None
    result_omitted: Omitted | None = Field(
        None, description="Why a result is not shown: too large, no JSON, or one of a long list (ask for it alone)."
    )
    chunks: int | None = Field(None, description="Pieces of text that it has written.")
    queued_at: float
    started_at: float | None = None
    ended_at: float | None = None


class JobQueries:
    """The jobs of one owner."""

    def __init__(self, node: Node, owner: Stream) -> None:
        self._settings, self._owner, self._listings = node.settings, owner, node.listings
        self._jobs = Jobs(Keyspace.of(node.settings).of_stream(owner), node.settings)

    async def listed(self) -> list[dict[str, Any]]:
        """Return those that run or ended within `job_seconds`, at most 100, the newest first."""
        return await self._listings.of(self._owner)

    async def find(self, id: str) -> dict[str, Any] | None:
        found: list[dict[str, Any]] = await self._run(self._jobs.listed(self._owner, self._key(id).id))
        return found[0] if found else None

    async def cancel(self, id: str) -> dict[str, Any] | None:
        """Have a job stop, if it has not ended. Returns it as it is then."""
        advanced: Advanced = await self._run(self._jobs.advance("cancel", self._key(id)))
        job = advanced.job
        if advanced.answer is Answer.OK and job is not None and job["state"] == State.CANCELLED:
            note_job(self._owner, job)  # it had not begun; otherwise its worker reports it
        return job

    async def pieces(self, id: str, after: int) -> AsyncIterator[dict[str, Any]]:
        """Yield what a job has written after the piece with the number *after*. `gap`: before it some are not kept."""
        while page := await self._run(self._jobs.read(self._key(id), after)):
            for piece in page:
                yield {"job": id, **piece} if piece["n"] == after + 1 else {"job": id, **piece, "gap": True}
                after = piece["n"]

    def _key(self, id: str) -> JobKey:
        return JobKey.of(self._owner, id)

    async def _run(self, call: Any) -> Any:
        return await arun(clients.awaiting(self._settings), call, timeout=self._settings.redis_timeout)
