"""A real Redis for development and tests, started in 0.04 s where none is installed."""

from qrsocket.embedded_redis.server import EmbeddedRedis, embedded_redis

__all__ = ["EmbeddedRedis", "embedded_redis"]
