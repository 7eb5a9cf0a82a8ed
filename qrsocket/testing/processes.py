"""
Processes as a user starts them, each until its block ends: `with web_node("shop:app") as node, worker("tasks"): ...`

Their log lines are in `log`, and with a failed test under "Captured log". They inherit the environment, and import what
this process can import.
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

from qrsocket.parent_death import killed_with_parent

Env: TypeAlias = Mapping[str, str]

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0

logger = logging.getLogger("qrsocket.testing")
logger.setLevel(logging.DEBUG)  # pytest keeps what passes the logger's own level


class Running:
    """
    A process, in a process group of its own.

    Attributes:
        log: The lines that it has written so far, on standard output and standard error.
    """

    def __init__(self, name: str, command: list[str], env: Env, *, cwd: Path | None = None) -> None:
        self.name = name
        self.log: list[str] = []
        self._more = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(  # noqa: S603 - the words of a test
            command,
            cwd=cwd,
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
            preexec_fn=killed_with_parent(),
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
        """End it, and all that it has started, as a power cut does. Ended already, nothing happens."""
        with suppress(ProcessLookupError):
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
        self.kill()  # children that outlived it, too
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - it was asked for
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
        port: On 127.0.0.1. A node that comes back takes the port of the one before: `web_node(app, node.port)`.
    """

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def web_node(
    app: str, port: int = 0, env: Env | None = None, *, ready: str | None = "/socket/ready"
) -> Iterator[WebNode]:
    """
    Run a web node, ready to serve.

    Args:
        app: As uvicorn takes it, `"shop:app"`.
        port: 0 for a free one.
        env: Added to the environment.
        ready: Path that must answer 200; None where it cannot, without Redis, say.
    """
    options = ["--host", "127.0.0.1", "--port", str(port), "--timeout-graceful-shutdown", "5"]
    node = WebNode(f"web {port or ''}".strip(), [sys.executable, "-m", "uvicorn", app, *options], env or {})
    try:
        node.port = int(node.wait_for(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")[1])
        if ready is not None:
            with urlopen(f"{node.url}{ready}", timeout=START_TIMEOUT) as answer:  # noqa: S310 - our own address
                assert answer.status == 200, answer.status  # noqa: S101 - for a test
        yield node
    finally:
        node.stop()


@contextmanager
def worker(app: str, env: Env | None = None, *, pool: str = "prefork", concurrency: int = 2) -> Iterator[Running]:
    """
    Run a Celery worker, ready to take tasks. It has a name of its own, so that several can run.

    Args:
        app: As `celery -A` takes it.
        env: Added to the environment.
        pool: prefork, threads, solo or gevent.
    """
    # Looking for other workers takes a second at the start.
    options = ["--pool", pool, "--concurrency", str(concurrency), "--without-mingle", "--without-gossip"]
    with _celery("worker", app, env, [*options, "--hostname", f"{uuid4().hex[:8]}@%h"], r"@\S+ ready\.") as running:
        _workers.add(running)
        try:
            yield running
        finally:
            _workers.discard(running)


_workers: set[Running] = set()


def has_workers() -> bool:
    """Whether a worker that was started here still runs."""
    return any(worker.process.poll() is None for worker in _workers)


@contextmanager
def beat(app: str, env: Env | None = None) -> Iterator[Running]:
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


def _environment(env: Env) -> dict[str, str]:
    # pytest puts folders of tests on its own path only.
    path = os.pathsep.join(filter(None, (env.get("PYTHONPATH"), *sys.path)))
    return {**os.environ, "PYTHONUNBUFFERED": "1", **env, "PYTHONPATH": path}
