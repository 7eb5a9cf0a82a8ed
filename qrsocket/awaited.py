"""A coroutine that says what was forgotten when nobody awaits it."""

import sys
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, TypeVar

R = TypeVar("R")


class Awaited(Coroutine[Any, Any, R]):
    """What an async verb returns. Python's own warning about a forgotten `await` is easily overlooked."""

    __slots__ = ("_coroutine", "_started", "_verb")

    def __init__(self, verb: str, coroutine: Coroutine[Any, Any, R]) -> None:
        self._verb, self._coroutine, self._started = verb, coroutine, False

    def __await__(self) -> Generator[Any, Any, R]:
        self._started = True
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        self._started = True
        return self._coroutine.send(value)

    def throw(
        self,
        typ: Any,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Any:
        self._started = True
        return self._coroutine.throw(typ) if val is None else self._coroutine.throw(typ, val, tb)

    def close(self) -> None:
        self._started = True
        self._coroutine.close()

    def __bool__(self) -> bool:
        # From Python 3.12 the repr of a task asks whether it has a coroutine: that is no condition that forgot `await`.
        asker = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001
        if not self._started and asker.partition(".")[0] != "asyncio":
            raise RuntimeError(self._forgotten)
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)  # its name and its frame, for the repr and the stack of a task

    def __del__(self) -> None:
        if not self._started:
            self._coroutine.close()
            raise RuntimeError(self._forgotten)  # shown by sys.unraisablehook

    @property
    def _forgotten(self) -> str:
        return f"socket.{self._verb}(...) was not awaited, so nothing was done: write `await socket.{self._verb}(...)`"
