"""A Redis to be killed, frozen, rolled back, wiped and limited. It keeps an append-only file and comes back from it."""

import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import redis

from qrsocket.embedded_redis.server import find_server
from tests.faults.conditions import CANARY, end_with_parent

START_TIMEOUT = 10.0
# Longer than any fault: an answer that comes after a pause is what says that the pause is over.
ANSWER_TIMEOUT = 15.0

PUBSUB_LIMIT = "client-output-buffer-limit"


def free_port() -> int:
    """
    Return a port that stays free while its server is down.

    Below those that the kernel gives to outgoing connections (32768 and up): one of these could take it meanwhile.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class RedisServer:
    """
    Attributes:
        folder: Of its append-only file and its log.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.port = free_port()
        self._log = folder / "appendonlydir"
        self._dump, self._older_dump = folder / "dump.rdb", folder / "older.rdb"
        self._process: subprocess.Popen[bytes] | None = None
        self._client = redis.Redis(
            port=self.port, password=CANARY, socket_timeout=ANSWER_TIMEOUT, decode_responses=True, retry=None
        )

    @property
    def client(self) -> redis.Redis:
        """A client to look into it with, at its own port. Answers are str."""
        return self._client

    def start(self, *, append_only: bool = True) -> None:
        fixed = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        fixed += ["--requirepass", CANARY, "--maxmemory-policy", "noeviction", "--appendfsync", "everysec"]
        fixed += ["--logfile", str(self.folder / "redis.log"), "--appendonly", "yes" if append_only else "no"]
        self._process = subprocess.Popen(
            [find_server(), *fixed],
            preexec_fn=end_with_parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            assert self._process.poll() is None, "Redis ended at its start; see redis.log"
            assert time.monotonic() < deadline, f"Redis did not answer within {START_TIMEOUT:g} s; see redis.log"
            time.sleep(0.005)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._client.connection_pool.disconnect()

    def close(self) -> None:
        self.kill()
        self._client.close()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it, and start it from the append-only file: nothing that it has acknowledged is lost."""
        self.kill()
        self.start()

    def keep_dump(self) -> None:
        """Remember everything as it is now, for `roll_back`."""
        self.client.save()
        shutil.copy(self._dump, self._older_dump)

    def roll_back(self) -> None:
        """Kill it, and start it from the last `keep_dump`, as after a restore from a backup."""
        self.kill()
        shutil.rmtree(self._log)
        shutil.copy(self._older_dump, self._dump)
        self.start(append_only=False)  # with an append-only file it would not read the dump
        self.client.config_set("appendonly", "yes")
        self._wait_for_append_only()

    def wipe(self) -> None:
        """Kill it, and start it empty."""
        self.kill()
        shutil.rmtree(self._log)
        self._dump.unlink(missing_ok=True)
        self.start()

    def flush(self) -> None:
        """Empty it, and let it run on."""
        self.client.flushall()

    def kill_clients(self, *, of_type: str) -> None:
        """Cut all connections of *of_type*, "normal" or "pubsub", but this."""
        self.client.client_kill_filter(_type=of_type, skipme=True)

    def pause(self, seconds: float) -> None:
        """Answer nobody for *seconds*. Returns when they are over."""
        self.client.client_pause(int(seconds * 1000), all=True)
        self.client.ping()

    def fill(self) -> None:
        """Refuse what needs memory, until `unfill`."""
        self.client.config_set("maxmemory", self._info("memory")["used_memory"] // 2)

    def unfill(self) -> None:
        self.client.config_set("maxmemory", 0)

    def cut_a_relay(self, *, timeout: float) -> None:
        """Cut off whom a large message is sent to, as too slow, until one was, or *timeout* seconds have passed."""
        before = self._cut_off()
        self.client.config_set(PUBSUB_LIMIT, "pubsub 1 0 0")
        try:
            deadline = time.monotonic() + timeout
            while self._cut_off() == before and time.monotonic() < deadline:
                time.sleep(0.02)
        finally:
            self.client.config_set(PUBSUB_LIMIT, "pubsub 32mb 8mb 60")

    def _cut_off(self) -> int:
        return int(self._info("stats")["client_output_buffer_limit_disconnections"])

    def _answers(self) -> bool:
        try:
            return bool(self._client.ping())
        except redis.ConnectionError:  # or it is loading
            return False

    def _wait_for_append_only(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            info = self._info("persistence")
            if info["aof_enabled"] and not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]:
                return
            assert time.monotonic() < deadline, "Redis did not write its append-only file; see redis.log"
            time.sleep(0.01)

    def _info(self, section: str) -> dict[str, Any]:
        info: dict[str, Any] = self.client.info(section)
        return info

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
