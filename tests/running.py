"""The processes of `qrsocket.testing`, which run the example unless told otherwise."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.request import urlopen

from qrsocket.testing import processes
from qrsocket.testing.processes import START_TIMEOUT, Env, Running, WebNode

__all__ = ["QRSOCKET", "ROOT", "START_TIMEOUT", "Env", "Running", "WebNode", "beat", "serve", "web_node", "worker"]

ROOT = Path(__file__).parent.parent
QRSOCKET = str(Path(sys.executable).with_name("qrsocket"))


def web_node(
    port: int = 0, env: Env | None = None, *, app: str = "api.main:app", ready: str | None = "/socket/ready"
) -> AbstractContextManager[WebNode]:
    return processes.web_node(app, port, env, ready=ready)


@contextmanager
def serve(app: str, *options: str, env: Env | None = None, ready: str = "/socket/ready") -> Iterator[WebNode]:
    """Run `qrsocket serve`, ready to serve, on a free port."""
    node = WebNode("serve", [QRSOCKET, "serve", app, "--port", "0", *options], env or {})
    try:
        node.port = int(node.wait_for(r"Uvicorn running on https?://127\.0\.0\.1:(\d+)")[1])
        _wait_until_ready(node, f"{node.url}{ready}")
        yield node
    finally:
        node.kill()  # a test that wants an orderly end waits for it
        node.stop()


def _wait_until_ready(node: WebNode, url: str) -> None:
    """Ask until *url* answers 200: several workers say where they listen before they do."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            with urlopen(url, timeout=START_TIMEOUT):
                return
        except OSError as error:
            if node.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("\n".join([f"{url}: {error}", *node.log[-20:]])) from None
            time.sleep(0.02)


def worker(
    env: Env | None = None, *, app: str = "worker.app", pool: str = "prefork", concurrency: int = 2
) -> AbstractContextManager[Running]:
    return processes.worker(app, env, pool=pool, concurrency=concurrency)


def beat(env: Env | None = None, *, app: str = "worker.app") -> AbstractContextManager[Running]:
    return processes.beat(app, env)
