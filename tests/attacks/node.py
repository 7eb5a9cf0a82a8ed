"""A web node in a process of its own, as it is attacked: with our classes or with uvicorn's own; and what it takes."""

import json
import re
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil

from qrsocket.testing.processes import Running

OURS = (
    "--http",
    "qrsocket.server.http_protocol:HttpProtocol",
    "--ws",
    "qrsocket.server.protocol:WebSocketProtocol",
)


class Node(Running):
    """
    Attributes:
        address: `127.0.0.1:<port>`.
    """

    address: str

    @property
    def memory_mib(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    @property
    def connections(self) -> int:
        with urlopen(f"http://{self.address}/socket/ready") as answer:
            return int(json.load(answer)["connections"])

    def has_open(self, port: int) -> bool:
        """Whether it has a connection with this port of ours."""
        return any(one.raddr and one.raddr.port == port for one in psutil.Process(self.pid).net_connections("tcp4"))

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


@contextmanager
def attacked(
    *options: str,
    app: str = "tests.attacks.app:app",
    env: Mapping[str, str] | None = None,
    is_ours: bool = True,
    open_files: int | None = None,
) -> Iterator[Node]:
    """Run a node until the block ends."""
    command = [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "0", *options]
    command += ["--timeout-graceful-shutdown", "1"]
    command += OURS if is_ours else ("--ws", "websockets-sansio")
    if open_files is not None:
        command = ["prlimit", f"--nofile={open_files}", *command]
    node = Node("node", command, env or {})
    try:
        found = node.wait_for(r"Uvicorn running on http://(127\.0\.0\.1:\d+)")
        node.address = re.sub(r"\x1b.*?m", "", found[1])
        node.wait_for("startup complete")
        yield node
    finally:
        node.stop()
