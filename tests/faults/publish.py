"""
The publishers of a fault run: several senders at once, each with one message after the other.

    python -m tests.faults.publish awaiting|blocking SEED

Where an outcome is not known that is written down, and the sender goes on with its next message. Orders: `stop`,
`flood` for many large messages to one user, and `last` for one more message to each user and room, and to everyone.
"""

import asyncio
import random
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from qrsocket import Delivery, Unavailable, socket
from qrsocket.context import Context, running_for
from qrsocket.sync import socket as blocking
from tests.faults.conditions import EVERYONE, ROOMS, USERS, WATCHERS, apply_mutation, end_with_driver, folder
from tests.faults.history import Recorder
from tests.faults.jobs import send_all, work
from tests.faults.messages import LAST, payload, recipients, some_recipients, some_size
from tests.faults.orders import obey

AWAITING_SENDERS, BLOCKING_SENDERS = 6, 3
# Seconds between two messages of one sender: about 35 messages a second in all.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 0.4
KEPT_SHARE = 0.9
JOB_PAUSE = 1.0
LEAST_OF_A_JOB, MOST_OF_A_JOB = 3, 8
# Together 5 MB: more than the kernel takes for a client that does not read, and than its node then queues.
FLOOD, FLOOD_BYTES = 80, 64 * 1024
# A sender waits this long for Redis and a little longer, then it sees that it shall stop.
STOP_TIMEOUT = 5.0


class Sender:
    """Numbers its messages, and writes down what becomes of each."""

    def __init__(self, name: str, seed: str) -> None:
        self.name = name
        self.chance = random.Random(f"{seed} {name}")
        self._recorder = Recorder(folder(), f"publish-{name}")
        self._numbers = count(1)

    @property
    def pause(self) -> float:
        return self.chance.uniform(SHORTEST_PAUSE, LONGEST_PAUSE)

    async def send(self, to: Sequence[str], *, pad_bytes: int | None = None, keep: bool = True) -> bool:
        """Send to *to*; something of any size, if it is not given. Returns whether it was acknowledged."""
        id, message = self._next(to, pad_bytes, keep=keep)
        with self._outcome(id) as delivered:
            delivered(await recipients(socket, to).send(message, message_id=id, keep=keep))
            return True
        return False

    async def send_something(self) -> None:
        await self.send(self._to(), keep=self._keeps())

    def send_something_blocking(self) -> None:
        to, keep = self._to(), self._keeps()
        id, message = self._next(to, None, keep=keep)
        with self._outcome(id) as delivered:
            delivered(recipients(blocking, to).send(message, message_id=id, keep=keep))

    def _to(self) -> list[str]:
        return some_recipients(self.chance)

    def _keeps(self) -> bool:
        return self.chance.random() < KEPT_SHARE

    def _next(self, to: Sequence[str], pad_bytes: int | None, *, keep: bool) -> tuple[str, dict[str, Any]]:
        n = next(self._numbers)
        id = f"{self.name}-{n}"
        message = payload(id, self.name, n, to, pad_bytes=pad_bytes or some_size(self.chance))
        self._recorder.record("send", sender=self.name, n=n, id=id, to=list(to), kept=keep, but="")
        return id, message

    @contextmanager
    def _outcome(self, id: str) -> Iterator[Callable[[Delivery], None]]:
        try:
            yield lambda delivery: self._recorder.record("sent", id=id, connections=delivery.connections)
        except Unavailable as error:
            self._recorder.record("unknown", id=id, cause=error.cause)


async def publish_awaiting(seed: str) -> None:
    stopped = asyncio.Event()
    senders = [Sender(f"awaiting{number}", seed) for number in range(AWAITING_SENDERS)]
    flooding = Sender("flood", seed)

    async def run(sender: Sender) -> None:
        while not stopped.is_set():
            await sender.send_something()
            await _passes(stopped.wait(), sender.pause)

    async with asyncio.TaskGroup() as running:
        tasks = [running.create_task(run(sender), name=sender.name) for sender in senders]

        async def stop() -> None:
            stopped.set()
            await asyncio.wait(tasks, timeout=STOP_TIMEOUT)

        async def flood(user: str) -> None:
            for _ in range(FLOOD):
                if not await flooding.send([user], pad_bytes=FLOOD_BYTES):
                    return

        async def last() -> None:
            sender = Sender(LAST, seed)
            for stream in (*ROOMS, EVERYONE, *USERS):
                await sender.send([stream])

        await obey(stop=stop, flood=flood, last=last)
        stopped.set()


async def publish_blocking(seed: str) -> None:
    stopped = threading.Event()

    def run(sender: Sender) -> None:
        while not stopped.wait(sender.pause):
            sender.send_something_blocking()

    # Daemons: a broker that does not answer keeps nobody from ending.
    threads = [
        threading.Thread(target=run, args=[Sender(f"blocking{number}", seed)], daemon=True)
        for number in range(BLOCKING_SENDERS)
    ]
    threads.append(threading.Thread(target=_queue_jobs, args=[stopped, random.Random(f"{seed} jobs")], daemon=True))
    for thread in threads:
        thread.start()

    async def stop() -> None:
        stopped.set()
        for thread in threads:
            await asyncio.to_thread(thread.join, STOP_TIMEOUT)

    await obey(stop=stop)


def _queue_jobs(stopped: threading.Event, chance: random.Random) -> None:
    """Queue two jobs each second. What the broker makes of it meanwhile, a fault or not, is not asked here."""
    while not stopped.wait(JOB_PAUSE):
        sizes = [some_size(chance) for _ in range(chance.randint(LEAST_OF_A_JOB, MOST_OF_A_JOB))]
        try:
            send_all.delay(some_recipients(chance), sizes)
            with running_for(Context(user=chance.choice(WATCHERS))):
                work.delay(chance.randint(1, LEAST_OF_A_JOB), fails=chance.random() < 0.2)
        except Exception as error:
            print(f"job not queued: {type(error).__name__}", file=sys.stderr, flush=True)


async def _passes(awaited: Awaitable[Any], seconds: float) -> None:
    """Wait until *awaited* is done, or *seconds* have passed."""
    try:
        async with asyncio.timeout(seconds):
            await awaited
    except TimeoutError:
        pass


if __name__ == "__main__":
    end_with_driver()
    apply_mutation()
    asyncio.run({"awaiting": publish_awaiting, "blocking": publish_blocking}[sys.argv[1]](sys.argv[2]))
