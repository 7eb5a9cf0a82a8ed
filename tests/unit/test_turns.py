"""Whose turn it is to have a document parsed."""

import asyncio

from qrsocket.server.parsing import Turns


async def test_owners_take_turns() -> None:
    """
    Whoever waits for many turns has one of them before others have theirs, and not all.
    """
    turns, order = Turns(), []

    async def take(owner: str, number: int) -> None:
        async with turns.of(owner):
            order.append(f"{owner}{number}")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(take("a", number))
        group.create_task(take("b", 0))
        group.create_task(take("c", 0))

    assert ["a0", "a1", "b0", "c0", "a2"] == order


async def test_a_turn_that_nobody_wants_any_more() -> None:
    """
    One that is cancelled while it waits, or just as it is called, holds up nobody.
    """
    turns, order = Turns(), []

    async def take(name: str) -> None:
        async with turns.of(name):
            order.append(name)

    async with turns.of("first"):
        waiting = [asyncio.create_task(take(name)) for name in ("called", "waiting", "last")]
        await asyncio.sleep(0)
        waiting[1].cancel()
    waiting[0].cancel()  # its turn has come in this very moment
    await asyncio.gather(*waiting, return_exceptions=True)

    assert ["last"] == order
    async with asyncio.timeout(1), turns.of("again"):
        pass
