"""Real proxies in front of real nodes, and a client that has an address of its own."""

import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx2 as httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from qrsocket.testing.processes import Running
from tests.clients import PATIENCE

Headers: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]

# Another address of this machine than 127.0.0.1, which is the proxy's, and trusted by nodes.
CLIENT = "127.0.0.2"


def find(program: str) -> str:
    """Return where *program* is. Without it the test is skipped, or fails where nothing may be skipped."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        reason = f"there is no {program}: apt-get install it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@contextmanager
def listening(command: list[str], port: int) -> Iterator[Running]:
    """Run *command* until the block ends; wait until *port* of 127.0.0.1 answers."""
    running = Running(Path(command[0]).name, command, {})
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert running.process.poll() is None, "\n".join(running.log)
        yield running
    finally:
        running.stop()


def ask(port: int, path: str, headers: Headers = (), **options: Any) -> httpx.Response:
    """Send a GET, or a POST of *content*, from CLIENT."""
    method = "POST" if "content" in options else "GET"
    with httpx.Client(transport=httpx.HTTPTransport(local_address=CLIENT), timeout=PATIENCE) as client:
        return client.request(method, f"http://127.0.0.1:{port}{path}", headers=headers, **options)


def open_socket(port: int, headers: Headers = (), **options: Any) -> ClientConnection:
    """Open a WebSocket from CLIENT."""
    url = f"ws://127.0.0.1:{port}{options.pop('path', '/socket')}"
    return connect(url, additional_headers=headers, source_address=(CLIENT, 0), **options)


def exchange(client: ClientConnection, message: Any) -> Any:
    """Send *message*, and return the answer."""
    client.send(json.dumps(message))
    return json.loads(client.recv(timeout=PATIENCE))
