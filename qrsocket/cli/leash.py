"""
Runs one command, and kills it with all that it started when whoever holds our standard input is gone.

    python -I -S leash.py COMMAND...

The command gets a process group of its own. A byte on standard input is the number of a signal for the command, or that
plus 128 for the whole group. The end of standard input, which is also what the kernel makes of a holder that was
killed, is SIGKILL for the group. Exits as the command did; if that was by a signal, with 128 + its number. Imports the
standard library only, since it starts with every process.
"""

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

TO_GROUP = 128


def main(command: list[str]) -> int:
    wake, wake_up = os.pipe()
    os.set_blocking(wake_up, False)
    signal.set_wakeup_fd(wake_up)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing is written to the pipe
    # Not closed: the sockets to listen on pass through us.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False, process_group=0)
    try:
        while child.poll() is None:
            ready, _, _ = select.select([sys.stdin.fileno(), wake], [], [])
            if wake in ready:
                os.read(wake, 64)
                continue
            order = os.read(sys.stdin.fileno(), 1)
            if not order:
                break
            send(child.pid, order[0])
    finally:
        # Also when the command has ended by itself. The number is not given to others while one of its group is left.
        send(child.pid, signal.SIGKILL + TO_GROUP)
    code = child.wait()
    return code if code >= 0 else 128 - code


def send(pid: int, order: int) -> None:
    with suppress(ProcessLookupError):
        if order < TO_GROUP:
            os.kill(pid, order)
        else:
            os.killpg(pid, order - TO_GROUP)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
