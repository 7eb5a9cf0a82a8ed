"""
The process that sends, blocking, as a worker or a script does: `python -m bench.publisher MODULE`.

Each line that it reads says to whom to send; each that it writes says what that has cost. MODULE has a function
`sender`, whose answer sends: to the topic, or to some users.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

TOPIC = "crowd"
TEXT = "x" * 165  # with what is around it, 200 bytes of JSON

Target = list[str] | None  # users; None: the topic
Send = Callable[[Target, dict[str, Any]], object]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one send has cost its process, in µs: of time, and of CPU."""

    wall_us: float
    cpu_us: float


class Publisher:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders, self._answers = process.stdin, process.stdout

    async def send(self, targets: Sequence[Target], every: float = 0.0) -> Cost:
        """Send one message to each of *targets*, one after the other, or one *every* so many seconds."""
        self._orders.write(json.dumps([targets, every]).encode() + b"\n")
        await self._orders.drain()
        return Cost(**json.loads(await self._answers.readline()))


@asynccontextmanager
async def run_publisher(python: str, module: str, env: dict[str, str]) -> AsyncIterator[Publisher]:
    """Run a publisher until the block ends."""
    words = (python, "-m", "bench.publisher", module)
    process = await asyncio.create_subprocess_exec(*words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Publisher(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def main() -> None:
    send: Send = import_module(sys.argv[1]).sender(os.environ["QRSOCKET_REDIS_URL"])
    for line in sys.stdin:
        targets, every = json.loads(line)
        began, used = time.perf_counter(), time.process_time()
        for number, target in enumerate(targets):
            if every:
                time.sleep(max(0.0, began + number * every - time.perf_counter()))
            send(target, {"at": time.monotonic_ns(), "text": TEXT})
        wall, cpu = time.perf_counter() - began, time.process_time() - used
        cost = {"wall_us": wall / len(targets) * 1e6, "cpu_us": cpu / len(targets) * 1e6}
        sys.stdout.write(json.dumps(cost) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
