"""The jobs. Who queued an import can watch and cancel it; `socket.send` reaches whomever it names, on every device."""

import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from io import TextIOWrapper
from itertools import islice
from typing import Annotated, Any, TypeAlias

from pydantic import StringConstraints

from qrsocket.celery import job, notify_user
from qrsocket.sync import socket
from worker.app import app
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


@app.task
def send_summary() -> None:
    """Tell everyone who is online, and how many characters are stored. Beat queues it every minute."""
    everyone = socket.online()
    if everyone:
        with open_table() as table:
            socket.to(everyone).send({"summary": {"online": sorted(everyone), "rows": count(table)}})


@app.task
def remove_old_uploads() -> None:
    """Remove what no job will read: that of one which was cancelled while it waited, say. Beat queues it every hour."""
    prune_uploads(time.time())
