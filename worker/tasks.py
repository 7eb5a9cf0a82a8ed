"""The jobs. Who queued one can watch and cancel it; what it sends to the room reaches all who are in it."""

import os
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from io import TextIOWrapper
from itertools import islice
from typing import Annotated, Any, TypeAlias

from pydantic import StringConstraints

from qrsocket.celery import job, notify_user
from qrsocket.sync import socket
from worker.app import WORD_SECONDS, app
from worker.assistant import find_answer
from worker.chat import BOT, ROOM, keep
from worker.rows import BadFile, Character, Rejected, read_rows
from worker.store import count, open_table, open_upload, prune_uploads, store

BATCH = 1000
MOST_SHOWN = 100

# A task may be queued from anywhere: nothing that leads out of the folder of uploads.
UploadId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
FileName: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=255)]


@dataclass
class Imported:
    """
    Attributes:
        rows: The first of those that were rejected.
    """

    stored: int = 0
    rejected: int = 0
    rows: list[Rejected] = field(default_factory=list)

    def add(self, rows: Iterable[Character | Rejected]) -> None:
        for row in rows:
            if isinstance(row, Character):
                self.stored += 1
                continue
            self.rejected += 1
            if len(self.rows) < MOST_SHOWN:
                self.rows.append(row)

    def __str__(self) -> str:
        return f"{self.stored:,} stored" + (f", {self.rejected:,} rejected" if self.rejected else "")


# Acknowledged late, so that it runs again when its worker is killed: to store a row twice changes nothing.
# A bad file is the user's affair: `throws` keeps its traceback out of our log.
@app.task(acks_late=True, throws=(BadFile,))
@notify_user(title=lambda upload, file: file, result=True)
def import_csv(upload: UploadId, file: FileName) -> dict[str, Any]:
    """
    Store the rows of a CSV file.

    Args:
        upload: Its name in the folder of uploads, from where it is removed.
        file: The name that the user knows.

    Returns:
        The counts, and the first rejected rows, for the user.
    """
    imported = Imported()
    with open_upload(upload) as binary, open_table() as table:
        size_bytes = os.fstat(binary.fileno()).st_size
        job.progress(0, size_bytes)
        lines = TextIOWrapper(binary, "utf-8-sig", newline="")  # whose end would close the file: it is kept
        rows = read_rows(lines)
        while batch := list(islice(rows, BATCH)):
            job.check()  # where "Cancel" ends it, between two batches
            store(table, [row for row in batch if isinstance(row, Character)])
            imported.add(batch)
            job.progress(binary.tell(), size_bytes, message=str(imported))
    return asdict(imported)


@app.task(acks_late=True)
@notify_user
def answer(question: str) -> None:
    """
    Write the answer into the room, word by word. It is kept when it is whole, or as far as it is when it is cancelled.

    A job that runs again writes it anew, and keeps it once: its key is the job's id.
    """
    with open_table() as table:
        words = re.findall(r"\s*\S+", find_answer(table, question))
    written = ""
    for word in words:
        if job.cancelled:
            written += " …"
            break
        written += word
        # All of it each time, so that a page that comes half-way has it with the next word. Of what waits for a slow
        # page only the newest counts, and nothing is there to come back to.
        socket.topic(ROOM).send({"said": {"who": BOT, "key": job.id, "text": written}}, latest=job.id)
        time.sleep(WORD_SECONDS)
    said = keep(BOT, job.id, written, time.time())
    socket.topic(ROOM).send({"said": said}, message_id=f"said {job.id}")
    job.check()  # so that one that was cancelled ends as that


@app.task
def send_summary() -> None:
    """Tell everyone how many are in the room, and how many characters are stored. Beat queues it every minute."""
    with open_table() as table:
        rows = count(table)
    socket.everyone.send({"summary": {"members": len(socket.topic(ROOM).members()), "rows": rows}})


@app.task
def remove_old_uploads() -> None:
    """Remove what no job will read: that of one which was cancelled while it waited, say. Beat queues it every hour."""
    prune_uploads(time.time())
