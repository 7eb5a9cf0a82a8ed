"""A Redis that tests may restart, and that the settings of this process and of those it starts point to."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from qrsocket.sender.circuit import circuit_of
from qrsocket.settings import get_settings

# Another process may take a port between our choice and our start.
ATTEMPTS = 3


class RedisServer:
    """
    An embedded server. Everything blocks until it is done, for 0.05 s or so.

    Attributes:
        port: Of 127.0.0.1, also after a restart.
        url: Database 0, for qrsocket and for the application.
        broker_url: Database 1, for Celery: it is not emptied while a worker runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._embedded = self._first_start()
        self.port = self._embedded.port
        self.url = self._embedded.url
        self.broker_url = f"redis://127.0.0.1:{self.port}/1"

    @property
    def is_running(self) -> bool:
        return self._embedded.process.poll() is None

    def client(self, db: int = 0) -> redis.Redis:
        """Return a client to look into it with; to be closed. It does not try twice."""
        return redis.Redis(port=self.port, db=db, retry=Retry(NoBackoff(), 0))

    def kill(self) -> None:
        """End it as a power cut does; what it had is lost."""
        self._embedded.process.kill()
        self._embedded.process.wait()
        self._stack.close()
        (self._folder / "dump.rdb").unlink(missing_ok=True)

    def start(self) -> None:
        """Start it again, on the same port."""
        self._embedded = self._start(self.port)
        # Whoever has failed to reach it would not try again for a second.
        circuit_of(self.url).answered(time.monotonic())

    def restart(self, *, keep_data: bool = False) -> None:
        """
        Kill it and start it again, on the same port: every connection breaks.

        Args:
            keep_data: It comes back with all that it had, as with an append-only file; otherwise empty. In both cases
                it is another run of the server, which positions and presence notice.
        """
        if keep_data and self.is_running:
            self._save_and_exit()
        else:
            self.kill()
        self.start()

    def empty(self, *, broker: bool) -> None:
        """Delete everything, of the broker's database only if told so; if it does not run, start it."""
        if not self.is_running:
            self.start()
        for number in (0, 1) if broker else (0,):
            with self.client(number) as client:
                client.flushdb()

    def close(self) -> None:
        self._stack.close()

    def _save_and_exit(self) -> None:
        # At once: what is written between a SAVE and a kill would be lost.
        with self.client() as client:
            client.shutdown(save=True)
        self._embedded.process.wait()
        self._stack.close()

    def _first_start(self) -> EmbeddedRedis:
        for _ in range(ATTEMPTS - 1):
            with suppress(RuntimeError):
                return self._start(None)
        return self._start(None)

    def _start(self, port: int | None) -> EmbeddedRedis:
        return self._stack.enter_context(embedded_redis("--dir", str(self._folder), port=port))


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a server that qrsocket and Celery find: `QRSOCKET_REDIS_URL` and `CELERY_BROKER_URL` name it."""
    with TemporaryDirectory(prefix="qrsocket-testing-") as folder:
        server = RedisServer(Path(folder))
        try:
            with environment(QRSOCKET_REDIS_URL=server.url, CELERY_BROKER_URL=server.broker_url):
                yield server
        finally:
            server.close()


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables until the block ends; settings are read again, then and now."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    get_settings.cache_clear()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        get_settings.cache_clear()
