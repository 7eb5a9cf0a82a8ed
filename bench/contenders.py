"""Who is measured: what runs a node, what sends, and how its clients speak."""

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.load import Dialect
from bench.node import VAR

PLAIN = Dialect()
QRSOCKET_V1 = Dialect(subprotocol="qrsocket.v1", hello=b"!hello\n{}", ready=b"!ready")
# Engine.IO 4 and Socket.IO 5 in text frames: 40 connects, 2 is a ping, 3 a pong.
SOCKET_IO = Dialect("/socket.io/?EIO=4&transport=websocket&user={user}", hello=b"40", ready=b"40", answers={b"2": b"3"})
QUIET = ("--log-level", "warning", "--no-access-log", "--loop", "uvloop", "--port", "{port}")
QRSOCKET = str(Path(sys.executable).with_name("qrsocket"))
PEERS_PYTHON = str(VAR / "peers" / "bin" / "python")


@dataclass(frozen=True, slots=True)
class Contender:
    """
    Attributes:
        command: What runs a node, with `{port}` in it.
        sender: Module whose `sender` sends.
        ready: Path that answers 200 when the node is ready; if empty, it is when its port is open.
    """

    name: str
    command: tuple[str, ...]
    sender: str
    dialect: Dialect = PLAIN
    ready: str = ""
    python: str = sys.executable


def _limit(name: str, *options: str) -> Contender:
    return Contender(name, (sys.executable, "-m", "bench.limit", "{port}", *options), "bench.limit")


def _ours(name: str, dialect: Dialect, app: str = "bench.ours:app") -> Contender:
    command = (QRSOCKET, "serve", app, "--log-level", "warning", "--no-access-log", "--port", "{port}")
    return Contender(name, command, "bench.ours", dialect, "/socket/ready")


def _peer(name: str, module: str, dialect: Dialect) -> Contender:
    command = (PEERS_PYTHON, "-m", "uvicorn", f"{module}:app", "--ws-per-message-deflate", "false", *QUIET)
    return Contender(name, command, module, dialect, python=PEERS_PYTHON)


_BY_HAND = (sys.executable, "-m", "uvicorn", "bench.by_hand:app", "--ws-per-message-deflate", "false", *QUIET)
OURS = _ours("ours-v1", QRSOCKET_V1)
CONTENDERS = (
    _limit("limit"),
    _limit("limit-batched", "--batched"),
    _ours("ours", PLAIN),
    OURS,
    _ours("ours-metrics", PLAIN, "bench.counted:app"),
    Contender("hand", _BY_HAND, "bench.by_hand"),
)
PEERS = (
    _peer("python-socketio", "bench.peers.python_socketio", SOCKET_IO),
    _peer("django-channels", "bench.peers.django_channels", PLAIN),
    _peer("litestar-channels", "bench.peers.litestar_channels", PLAIN),
)
