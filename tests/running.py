"""
Processes as a user starts them, each until its block ends: `with web_node() as node, worker() as jobs: ...`

Their log lines are in `log`, and with a failed test under "Captured log". They inherit the environment, so those of a
test that uses the fixture `redis_server` find that server.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias
from urllib.request import urlopen
from uuid import uuid4

Env: TypeAlias = Mapping[str, str]

ROOT = Path(__file__).parent.parent
START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0

logger = logging.getLogger("running")
logger.setLevel(logging.DEBUG)  # pytest keeps what passes the logger's own level


class Running:
    """
    A process, in a process group of its own.

    Attributes:
        log: The lines that it has written so far, on standard output and standard error.
    """

    def __init__(self, name: str, command: list[str], env: Env) -> None:
        self.name = name
        self.log: list[str] = []
        self._more = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, name=f"log of {name}")
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, pattern: str, *, timeout: float = START_TIMEOUT, since: int = 0) -> re.Match[str]:
        """
        Wait for a log line that has *pattern* in it.

        Args:
            since: Look from this line on: `len(node.log)`, noted before the cause, finds the effect.

        Raises:
            AssertionError: The process ended without, or *timeout* seconds have passed. The text has its last lines.
        """
        deadline = time.monotonic() + timeout
        with self._more:
            while True:
                for line in self.log[since:]:
                    if match := re.search(pattern, line):
                        return match
                since = len(self.log)
                if self._ended or not self._more.wait(deadline - time.monotonic()):
                    why = "ended" if self._ended else f"went on for {timeout:g} s"
                    last_lines = "\n".join(self.log[-40:])
                    raise AssertionError(f"{self.name} {why} without {pattern!r} in its log:\n{last_lines}")

    def send_signal(self, number: signal.Signals) -> None:
        """Send it to the process and all that it has started. SIGSTOP freezes them, SIGCONT thaws."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it, and all that it has started, as a power cut does."""
        self.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it as an operator does, and with force if that takes longer than 10 s. Ended already, nothing happens."""
        if self.process.poll() is None:
            self.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                logger.warning("%s did not end on SIGTERM", self.name)
        with suppress(ProcessLookupError):
            self.kill()  # children that outlived it, too
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                logger.info("%s | %s", self.name, line.rstrip("\n"))
                with self._more:
                    self.log.append(line.rstrip("\n"))
                    self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()


class WebNode(Running):
    """
    Attributes:
        port: On 127.0.0.1. A node that comes back takes the port of the one before: `web_node(node.port)`.
    """

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def web_node(
    port: int = 0, env: Env | None = None, *, app: str = "api.main:app", ready: str | None = "/socket/ready"
) -> Iterator[WebNode]:
    """
    Run a web node, ready to serve.

    Args:
        port: 0 for a free one.
        env: Added to the environment.
        ready: Path that must answer 200; None where it cannot, without Redis, say.
    """
    options = ["--host", "127.0.0.1", "--port", str(port), "--timeout-graceful-shutdown", "5"]
    node = WebNode(f"web {port or ''}".strip(), [sys.executable, "-m", "uvicorn", app, *options], env or {})
    try:
        node.port = int(node.wait_for(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")[1])
        if ready is not None:
            with urlopen(f"{node.url}{ready}", timeout=START_TIMEOUT) as answer:
                assert 200 == answer.status
        yield node
    finally:
        node.stop()


@contextmanager
def worker(
    env: Env | None = None, *, app: str = "worker.app", pool: str = "prefork", concurrency: int = 2
) -> Iterator[Running]:
    """Run a Celery worker, ready to take tasks. It has a name of its own, so that several can run."""
    # Looking for other workers takes a second at the start.
    options = ["--pool", pool, "--concurrency", str(concurrency), "--without-mingle", "--without-gossip"]
    with _celery("worker", app, env, [*options, "--hostname", f"{uuid4().hex[:8]}@%h"], r"@\S+ ready\.") as running:
        yield running


@contextmanager
def beat(env: Env | None = None, *, app: str = "worker.app") -> Iterator[Running]:
    """Run a Celery beat that remembers no earlier one."""
    with TemporaryDirectory(prefix="qrsocket-beat-") as folder:
        options = ["--schedule", f"{folder}/schedule", "--pidfile", ""]
        with _celery("beat", app, env, options, r"beat: Starting") as running:
            yield running


@contextmanager
def _celery(role: str, app: str, env: Env | None, options: list[str], ready: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "celery", "-A", app, role, "--loglevel", "INFO", *options]
    running = Running(role, command, env or {})
    try:
        running.wait_for(ready)
        yield running
    finally:
        running.stop()
