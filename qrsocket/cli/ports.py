"""Where web nodes listen: those of `dev` on ports that are taken before anything is started, and kept."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from qrsocket.cli.failed import Failed


@contextmanager
def listening(host: str, port: int, nodes: int) -> Iterator[list[socket.socket]]:
    """
    Listen on *port* of *host* and those after it, one for each node, until the block ends. 0: on free ones.

    Raises:
        Failed: One of them is taken, or is none.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(_listen(host, port and port + number)) for number in range(nodes)]


def check_free(host: str, port: int) -> None:
    """
    Raises:
        Failed: *port* of *host* is taken, or is none.
    """
    with _named(host, port):
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    with _named(host, port):
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)


@contextmanager
def _named(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # create_server() adds the address to the text of a bind that failed; a host that is not known has no errno.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise Failed(
            f"cannot listen on {host}, port {port} ({why}): end what uses it, or name another --port or --host"
        ) from None
