"""Our own node with metrics on."""

from bench.ours import app
from qrsocket.prometheus import collect

__all__ = ["app"]

collect()
