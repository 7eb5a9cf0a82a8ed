"""Processes started as a tool's documentation says: by another server, or with another command before theirs."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.request import urlopen
from uuid import uuid4

from qrsocket.testing.processes import START_TIMEOUT, Env, Running, WebNode
from tests.clients import PATIENCE
from tests.tools.ports import free_port

PYTHON = sys.executable


@contextmanager
def web(app: str, env: Env, *options: str, before: Sequence[str] = ()) -> Iterator[WebNode]:
    """Run uvicorn, by the command *before* if there is one."""
    with serving([*before, PYTHON, "-m", "uvicorn", app, "--port", "{port}", *options], env) as node:
        yield node


@contextmanager
def serving(command: Sequence[str], env: Env, ready: str = "/socket/ready") -> Iterator[WebNode]:
    """Run *command*, which is to listen on `{port}` of 127.0.0.1, until *ready* answers."""
    port = free_port()
    node = WebNode("web", [word.format(port=port) for word in command], env)
    node.port = port
    try:
        _wait_until_ready(node, f"{node.url}{ready}")
        yield node
    finally:
        node.stop()


def _wait_until_ready(node: WebNode, url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT + PATIENCE
    while True:
        try:
            with urlopen(url, timeout=PATIENCE):
                return
        except OSError as error:
            if node.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("\n".join([f"{url}: {error}", *node.log[-40:]])) from None
            time.sleep(0.05)


@contextmanager
def worker(app: str, env: Env, *, before: Sequence[str] = (), options: Sequence[str] = ()) -> Iterator[Running]:
    """Run a worker with two child processes, by the command *before* if there is one."""
    words = ["--concurrency", "2", "--without-mingle", "--hostname", f"{uuid4().hex[:8]}@%h", *options]
    celery = [*before, PYTHON, "-m", "celery", "-A", app]
    with running("worker", [*celery, "worker", "--loglevel", "INFO", *words], env, r"@\S+ ready\.") as process:
        yield process


@contextmanager
def running(name: str, command: Sequence[str], env: Env, ready: str) -> Iterator[Running]:
    """Run *command* from the moment that a line of its log has *ready* in it."""
    process = Running(name, list(command), env)
    try:
        process.wait_for(ready, timeout=START_TIMEOUT + PATIENCE)
        yield process
    finally:
        process.stop()
