"""A web node on a core of its own, and what it uses: CPU time and memory. Linux only."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped]

from qrsocket.parent_death import killed_with_parent

ROOT = Path(__file__).parent.parent
VAR = ROOT / "var" / "bench"
CORES = sorted(os.sched_getaffinity(0))
NODE_CORE, OTHERS_CORE = CORES[0], CORES[-1]
START_TIMEOUT = 60.0
IDLE_US = 2_000.0


def cpu_us(pid: int) -> float:
    """Return the CPU time of a process, user and system, all threads: psutil's is in steps of 10 ms."""
    # What clock_getcpuclockid(3) returns.
    return time.clock_gettime_ns((~pid << 3) | 2) / 1000


def stopwatch(pid: int) -> Callable[[], float]:
    """Return what returns the µs of CPU that a process has used since."""
    began = cpu_us(pid)
    return lambda: cpu_us(pid) - began


def pin(core: int, pid: int = 0) -> None:
    """Keep a process, or this one, and what it starts, on one core."""
    os.sched_setaffinity(pid, {core})


class Node:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process, self.pid, self.port = process, process.pid, port

    def rss_kib(self) -> float:
        return float(psutil.Process(self.pid).memory_info().rss) / 1024

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def settled(self) -> None:
        """Wait until it has nothing more to do; 10 s at most, for one that always has."""
        for _ in range(100):
            spent = stopwatch(self.pid)
            await asyncio.sleep(0.1)
            if spent() < IDLE_US:
                return


@asynccontextmanager
async def run_node(command: tuple[str, ...], env: dict[str, str], ready: str) -> AsyncIterator[Node]:
    """
    Run a node, which takes connections, until the block ends.

    Args:
        command: `{port}` in it becomes the port.
        ready: Path that answers 200 when it is; if empty, it is when its port is open.

    Raises:
        RuntimeError: It did not start. The text has the end of its log.
    """
    port = _free_port()
    VAR.mkdir(parents=True, exist_ok=True)
    log = VAR / f"node-{port}.log"
    with log.open("wb") as output:
        words = [word.replace("{port}", str(port)) for word in command]
        process = subprocess.Popen(  # noqa: ASYNC220
            words, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT, preexec_fn=killed_with_parent()
        )
    try:
        pin(NODE_CORE, process.pid)
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(port, ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(words)} did not start:\n{log.read_text()[-2000:]}")
            await asyncio.sleep(0.02)
        yield Node(process, port)
    finally:
        process.kill()  # a frozen one, too
        process.wait()
    log.unlink()  # of one that has failed it stays


def environment(redis_url: str) -> dict[str, str]:
    """Return the environment of a process that is measured."""
    ours = {"QRSOCKET_REDIS_URL": redis_url, "QRSOCKET_MAX_CONNECTIONS_PER_NODE": "100000", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **ours}


def _answers(port: int, ready: str) -> bool:
    with suppress(URLError, OSError):
        if ready:
            with urlopen(f"http://127.0.0.1:{port}{ready}", timeout=5) as answer:
                return bool(answer.status == 200)
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
