"""
Queues a task by its name, for alice, in a process that has no task.

    python -m tests.processes.bare_client BROKER QUEUE NAME ARGUMENT

Prints the id of the task.
"""

import sys

from celery import Celery

from qrsocket.celery import install
from qrsocket.context import Context, running_for

broker, queue, name, argument = sys.argv[1:]
app = install(Celery("bare", broker=broker))
with running_for(Context(user="alice")):
    print(app.send_task(name, (argument,), queue=queue).id)
