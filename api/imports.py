"""The way of a CSV file from the browser to the worker: `POST /socket/imports` saves it, and queues its job."""

from collections.abc import AsyncIterator
from contextvars import ContextVar
from pathlib import Path
from uuid import uuid4

import anyio
from fastapi import APIRouter, Depends, UploadFile
from fastapi.responses import StreamingResponse

from api.auth import signed_in
from api.sockets import router as socket_router
from worker.sample import read_sample
from worker.store import UPLOADS
from worker.tasks import import_csv

MAX_UPLOAD_BYTES = 16 * 1024 * 1024
MAX_FORM_BYTES = 16 * 1024  # what a form says besides its file
PART_BYTES = 256 * 1024

router = APIRouter(dependencies=[Depends(signed_in)])

_saved: ContextVar[list[Path]] = ContextVar("files that this request has saved")


async def save(file: UploadFile) -> dict[str, str]:
    """Save the file of a form in the folder that the workers share. Returns the arguments of its job."""
    upload = uuid4().hex
    path = UPLOADS / upload
    _saved.get().append(path)
    async with await anyio.open_file(path, "xb") as saved:
        while part := await file.read(PART_BYTES):
            await saved.write(part)
    return {"upload": upload, "file": file.filename or "A file"}


async def keep_nothing_unread() -> AsyncIterator[None]:
    """Remove what a request has saved if no job came of it: the broker does not answer, the client has gone …"""
    saved: list[Path] = []
    _saved.set(saved)
    try:
        yield
    except BaseException:
        for path in saved:
            path.unlink(missing_ok=True)
        raise


socket_router.add_job(
    "/imports",
    import_csv,
    save=save,
    max_bytes=MAX_UPLOAD_BYTES + MAX_FORM_BYTES,
    summary="Import a CSV file",
    dependencies=[Depends(keep_nothing_unread)],
)


@router.get("/sample.csv")
async def sample() -> StreamingResponse:
    headers = {"Content-Disposition": 'attachment; filename="characters.csv"'}
    return StreamingResponse(read_sample(), media_type="text/csv", headers=headers)
