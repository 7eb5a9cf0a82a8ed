"""The small queue and event: what uvicorn calls of asyncio's does the same."""

import asyncio

import pytest

from qrsocket.server.small import Gate, Line


async def soon(coroutine: object) -> asyncio.Task[object]:
    """Start it, and let it go as far as it can."""
    task = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
    for _ in range(3):
        await asyncio.sleep(0)
    return task  # type: ignore[no-any-return]


async def test_a_line_gives_what_came_in_order() -> None:
    """
    Who takes from an empty line waits.
    """
    line: Line[int] = Line()
    waiting = await soon(line.get())
    assert not waiting.done()
    for number in range(3):
        line.put_nowait(number)

    assert [0, 1, 2] == [await waiting, await line.get(), await line.get()]
    assert line.empty()


async def test_a_taker_that_is_cancelled_takes_nothing() -> None:
    """
    What comes after it is the next one's.
    """
    line: Line[int] = Line()
    waiting = await soon(line.get())
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    line.put_nowait(1)

    assert 1 == await line.get()


@pytest.mark.parametrize("waiters", [1, 3])
async def test_a_gate_lets_all_through_who_wait(waiters: int) -> None:
    """
    Also those beside one that was cancelled; closed again, it keeps the next ones.
    """
    gate = Gate()
    tasks = [await soon(gate.wait()) for _ in range(waiters)]
    cancelled = await soon(gate.wait())
    cancelled.cancel()
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    gate.set()
    await asyncio.gather(*tasks)
    gate.clear()
    late = await soon(gate.wait())

    assert (False, False) == (gate.is_set(), late.done())
    gate.set()
    await late
    await gate.wait()
