"""An application with a console, which believes who somebody says to be."""

from celery import Celery
from fastapi import Depends, FastAPI

from qrsocket.celery import install, job, notify_user
from qrsocket.server import SocketRouter

app, router, tasks = FastAPI(), SocketRouter("/socket"), install(Celery("console"))
shy = SocketRouter("/shy")
tasks.conf.beat_schedule = {"nightly": {"task": "tests.browser.console.wait", "schedule": 86_400.0}}


@tasks.task
@notify_user(title="Count the words")
def count_words(text: str) -> int:
    return sum(1 for _ in job.track(text.split()))


@tasks.task(queue="mistyped")
@notify_user
def wait(text: str) -> None: ...


def anybody() -> None: ...


for one in (router, shy):
    one.on_connect(lambda user: user)
router.add_job("/count", count_words)
router.add_job("/wait", wait)
router.add_console("/console", allow=Depends(anybody), shows_payloads=True)
shy.add_console("/for/admins", allow=Depends(anybody))
app.include_router(router)
app.include_router(shy)
