"""The embedded server, as a program has it that is ended."""

import os
import signal
import subprocess
import sys

import redis as redis_py

from tests.clients import PATIENCE

# It goes on at the signal, and ends the server when its input ends.
PROGRAM = """
import signal, sys
from qrsocket.embedded_redis import embedded_redis

signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
with embedded_redis() as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


def test_it_ends_after_those_who_use_it() -> None:
    """
    A signal to all of a process group, as of a terminal or of a supervisor, does not reach the server: it is there
    until the program has ended what uses it.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], process_group=0, text=True, **pipes) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        port = int(program.stdout.readline())

        os.killpg(program.pid, signal.SIGTERM)

        assert "asked\n" == program.stdout.readline()
        with redis_py.Redis(port=port, socket_timeout=PATIENCE) as client:
            assert client.ping()
        program.stdin.close()
    assert 0 == program.returncode
