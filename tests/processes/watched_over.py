"""A small application with metrics, in which things go wrong."""

import asyncio

from celery import Celery
from fastapi import FastAPI

from qrsocket.celery import install, notify_user
from qrsocket.server import SocketRouter

app, router, tasks = FastAPI(), SocketRouter("/socket"), install(Celery("watched", broker="memory://"))


@tasks.task
@notify_user
def import_file(name: str) -> None: ...


@router.on_connect
async def on_connect(user: str) -> str:
    return user


@app.post("/queue/{queue}")
async def put_in(queue: str) -> None:
    from qrsocket import User
    from qrsocket.context import Context, running_for

    with running_for(Context(user=User("alice").id)):
        await asyncio.to_thread(import_file.apply_async, ("a.csv",), queue=queue)


router.add_metrics()
app.include_router(router)
