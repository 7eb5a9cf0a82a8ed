"""How many connections a node takes, and what the kernel is told of those that acknowledge nothing."""

import math
import resource
import socket
from typing import Any

import pytest

from qrsocket.server.limits import end_when_nothing_is_acknowledged, max_connections, max_open
from qrsocket.settings import Settings


@pytest.fixture
def open_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The open-file limit of this process, as the test's parameter says."""
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (request.param, resource.RLIM_INFINITY))


@pytest.mark.parametrize(
    ("open_files", "most"), [(1024, 819), (20_000, 10_000), (resource.RLIM_INFINITY, 10_000)], indirect=["open_files"]
)
@pytest.mark.usefixtures("open_files")
def test_how_many_connections_a_node_takes(most: int) -> None:
    """
    As many as are set; if none are, what the open-file limit allows, at most 10 000.
    """
    assert most == max_connections(Settings())
    assert 7 == max_connections(Settings(max_connections_per_node=7))


@pytest.mark.parametrize(
    ("open_files", "most"),
    [(100, 50), (256, 192), (1024, 922), (100_000, 90_000), (resource.RLIM_INFINITY, math.inf)],
    indirect=["open_files"],
)
@pytest.mark.usefixtures("open_files")
def test_what_is_left_for_redis_and_files(most: float) -> None:
    """
    A tenth of the limit, and at least 64 files, but never more than half of them.
    """
    assert most == max_open()


class Transport:
    def __init__(self, sock: socket.socket | None) -> None:
        self._sock = sock

    def get_extra_info(self, name: str) -> Any:
        return {"socket": self._sock}[name]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_kernel_is_told(family: socket.AddressFamily) -> None:
    """
    In milliseconds.
    """
    with socket.socket(family) as sock:
        end_when_nothing_is_acknowledged(Transport(sock), 45.5)  # type: ignore[arg-type]

        assert 45_500 == sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_what_the_kernel_cannot_be_told_of() -> None:
    """
    A Unix socket, one that has closed, none at all: nothing is set and nothing fails.
    """
    closed = socket.socket()
    closed.close()
    with socket.socket(socket.AF_UNIX) as unix:
        for sock in (unix, closed, None):
            end_when_nothing_is_acknowledged(Transport(sock), 45)  # type: ignore[arg-type]


def test_a_kernel_that_knows_no_such_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    As that of macOS: nothing is set.
    """
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    with socket.socket() as sock:
        end_when_nothing_is_acknowledged(Transport(sock), 45)  # type: ignore[arg-type]
