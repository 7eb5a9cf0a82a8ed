"""
A queue and an event with the methods of asyncio's that uvicorn calls, for a single task: asyncio's hold five deques, of
760 bytes each, for each connection.
"""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Gate:
    """As `asyncio.Event`, for one task that waits."""

    __slots__ = ("_is_open", "_waiter")

    def __init__(self) -> None:
        self._is_open = False
        self._waiter: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        return self._is_open

    def clear(self) -> None:
        self._is_open = False

    def set(self) -> None:
        self._is_open = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        while not self._is_open:
            if self._waiter is None or self._waiter.done():
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)  # of two that wait all the same, one may be cancelled


class Line(Generic[T]):
    """As `asyncio.Queue`, for one task that takes."""

    __slots__ = ("_gate", "_items")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._gate = Gate()

    def put_nowait(self, item: T) -> None:
        self._items.append(item)
        self._gate.set()

    def empty(self) -> bool:
        return not self._items

    async def get(self) -> T:
        while not self._items:
            self._gate.clear()
            await self._gate.wait()
        return self._items.pop(0)
