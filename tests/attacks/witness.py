"""Another user, who goes on using a node while it is attacked: how long each answer takes."""

import json
import threading
import time
from statistics import median
from types import TracebackType

from websockets.sync.client import connect

from tests.clients import PATIENCE
from tests.conftest import MS

FEWEST = 3
USUALLY, ALWAYS = 100 * MS, 1000 * MS


class Witness:
    """
    `with Witness(address) as bob:` sends a message and waits for its answer, again and again, and fails at the end of
    the block if half of the answers took longer than 100 ms, or one longer than a second, of an idle machine.
    """

    def __init__(self, address: str) -> None:
        self._opening = connect(f"ws://{address}/socket?user=bob", close_timeout=1, compression=None)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._talk, name="witness")
        self.waited: list[float] = []
        self._error: Exception | None = None

    def __enter__(self) -> "Witness":
        self._connection = self._opening.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._opening.__exit__(kind, error, trace)
        if error is None:
            assert self._error is None, self._error
            assert median(self.waited) < USUALLY, self.waited
            assert max(self.waited) < ALWAYS, self.waited

    def _talk(self) -> None:
        try:
            while len(self.waited) < FEWEST or not self._is_over.wait(60 * MS):  # as fast as he may
                began = time.monotonic()
                self._connection.send(json.dumps(len(self.waited)))
                answer = json.loads(self._connection.recv(PATIENCE))
                assert {"echo": len(self.waited)} == answer, answer
                self.waited.append(time.monotonic() - began)
        except Exception as error:
            self._error = error
