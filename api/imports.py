"""The way of a CSV file from the browser to the worker: saved in the shared folder, then queued."""

from functools import partial
from typing import Annotated
from uuid import uuid4

import anyio
from anyio import to_thread
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from kombu.exceptions import OperationalError

from api.auth import signed_in
from worker.sample import read_sample
from worker.store import UPLOADS
from worker.tasks import import_csv

MAX_UPLOAD_BYTES = 16 * 1024 * 1024
QUEUE_TIMEOUT = 8.0

router = APIRouter(dependencies=[Depends(signed_in)])


@router.post("/imports", status_code=202)
async def start_import(request: Request, file: Annotated[str, Query(max_length=255)]) -> dict[str, str]:
    """Take a file, which is the whole body, and answer with the id of its job."""
    upload = uuid4().hex
    try:
        await _save(request, upload)
        return {"id": await _queue(upload, file)}
    except BaseException:  # a client that has gone, too
        (UPLOADS / upload).unlink(missing_ok=True)
        raise


@router.get("/sample.csv")
async def sample() -> StreamingResponse:
    headers = {"Content-Disposition": 'attachment; filename="characters.csv"'}
    return StreamingResponse(read_sample(), media_type="text/csv", headers=headers)


async def _save(request: Request, upload: str) -> None:
    size_bytes = 0
    async with await anyio.open_file(UPLOADS / upload, "wb") as saved:
        async for part in request.stream():
            size_bytes += len(part)
            if size_bytes > MAX_UPLOAD_BYTES:
                raise HTTPException(413, f"The file is larger than {MAX_UPLOAD_BYTES // 1024**2} MiB.")
            await saved.write(part)


async def _queue(upload: str, file: str) -> str:
    # `.delay()` blocks. The thread knows the user as we do, since it gets our context variables.
    delay = partial(import_csv.delay, upload, file)
    try:
        with anyio.fail_after(QUEUE_TIMEOUT):
            return str((await to_thread.run_sync(delay, abandon_on_cancel=True)).id)
    except (OperationalError, TimeoutError):
        raise HTTPException(503, "The job queue does not answer. Try again in a moment.") from None
