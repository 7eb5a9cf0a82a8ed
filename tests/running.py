"""The processes of `qrsocket.testing`, which run the example unless told otherwise."""

from contextlib import AbstractContextManager
from pathlib import Path

from qrsocket.testing import processes
from qrsocket.testing.processes import START_TIMEOUT, Env, Running, WebNode

__all__ = ["ROOT", "START_TIMEOUT", "Env", "Running", "WebNode", "beat", "web_node", "worker"]

ROOT = Path(__file__).parent.parent


def web_node(
    port: int = 0, env: Env | None = None, *, app: str = "api.main:app", ready: str | None = "/socket/ready"
) -> AbstractContextManager[WebNode]:
    return processes.web_node(app, port, env, ready=ready)


def worker(
    env: Env | None = None, *, app: str = "worker.app", pool: str = "prefork", concurrency: int = 2
) -> AbstractContextManager[Running]:
    return processes.worker(app, env, pool=pool, concurrency=concurrency)


def beat(env: Env | None = None, *, app: str = "worker.app") -> AbstractContextManager[Running]:
    return processes.beat(app, env)
