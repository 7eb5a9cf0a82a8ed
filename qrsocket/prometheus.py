"""
Numbers for Prometheus.

    router.add_metrics("/metrics", dependencies=[Depends(only_prometheus)])

serves them below the socket's path, those of the whole process. A worker calls `serve_metrics(9100)`. Whoever serves
them elsewhere calls `collect()` once and uses prometheus-client as usual. Several processes on one machine share
`PROMETHEUS_MULTIPROC_DIR`.
"""

import os
from functools import lru_cache

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from qrsocket.events import observe
from qrsocket.metrics import Metrics

__all__ = ["Metrics", "collect", "exposed", "serve_metrics"]


@lru_cache(maxsize=1)
def collect() -> Metrics:
    """Count from now on, in the registry of the process. To call it twice changes nothing."""
    metrics = Metrics()
    observe(metrics)
    return metrics


def exposed() -> tuple[bytes, str]:
    """Return all numbers of the process, or of those that share `PROMETHEUS_MULTIPROC_DIR`, and their content type."""
    return generate_latest(_registry()), CONTENT_TYPE_LATEST


def serve_metrics(port: int, host: str = "127.0.0.1") -> None:
    """
    Count from now on, and serve the numbers at a port of their own, in a thread: for a Celery worker.

    Args:
        host: Address to listen on. Who can reach it can read them: there is no authentication.

    Raises:
        OSError: The port is taken.
    """
    collect()
    start_http_server(port, host, _registry())


def _registry() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
