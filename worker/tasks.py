"""The jobs. `socket.send` reaches the user who queued the job, on every device."""

from io import TextIOWrapper
from itertools import islice

from qrsocket.celery import job, notify_user
from qrsocket.sync import socket
from worker.app import app
from worker.report import Report
from worker.rows import BadFile, Character, read_rows
from worker.store import UPLOADS, count, open_table, store

BATCH = 1000


# Acknowledged late, so that it runs again when its worker is killed: to store a row twice changes nothing.
# A bad file is the user's affair: `throws` keeps its traceback out of our log.
@app.task(acks_late=True, throws=(BadFile,))
@notify_user
def import_csv(upload: str, file: str) -> None:
    """
    Store the rows of a CSV file.

    Args:
        upload: Its name in the folder of uploads, from where it is removed.
        file: The name that the user knows.
    """
    path = UPLOADS / upload
    if not path.exists():
        return  # it was imported already, or whoever sent it was told that it could not be queued
    report = Report(job.id, file, path.stat().st_size)
    report.begin()
    try:
        with path.open("rb") as binary, open_table() as table:
            lines = TextIOWrapper(binary, "utf-8-sig", newline="")
            rows = read_rows(lines)
            while batch := list(islice(rows, BATCH)):
                store(table, [row for row in batch if isinstance(row, Character)])
                report.add(batch, binary.tell())
    except BadFile as error:
        path.unlink(missing_ok=True)
        report.refuse(str(error))
        raise
    # Not in a `finally`: a worker that is stopped here gives the job back, and whoever runs it again needs the file.
    # Missing where it was delivered twice, and the other was quicker.
    path.unlink(missing_ok=True)
    report.end()


@app.task
def send_summary() -> None:
    """Tell everyone who is online, and how many characters are stored. Beat queues it every minute."""
    everyone = socket.online()
    if everyone:
        with open_table() as table:
            socket.to(everyone).send({"summary": {"online": sorted(everyone), "rows": count(table)}})
