"""A coroutine that was not awaited says so; one that was behaves as any other."""

import asyncio
import gc
import sys
import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from qrsocket.awaited import Awaited

FORGOTTEN = r"socket\.send\(\.\.\.\) was not awaited, so nothing was done: write `await socket\.send\(\.\.\.\)`"


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What Python prints as "Exception ignored in ..."."""
    seen: list[str] = []

    def note(unraisable: SimpleNamespace) -> None:
        seen.append(f"{type(unraisable.exc_value).__name__}: {unraisable.exc_value}")

    monkeypatch.setattr(sys, "unraisablehook", note)
    yield seen
    gc.collect()


def sending(result: object = "sent", *, done: list[str] | None = None) -> Awaited[object]:
    async def send() -> object:
        await asyncio.sleep(0)
        if done is not None:
            done.append("sent")
        if isinstance(result, Exception):
            raise result
        return result

    return Awaited("send", send())


async def test_a_forgotten_await_is_shown(unraisable: list[str]) -> None:
    """
    Forgetting `await` prints one RuntimeError that says what to write, without Python's own warning beside it.
    """
    done: list[str] = []

    with warnings.catch_warnings(record=True) as warned:
        sending(done=done)
        gc.collect()

    assert ["RuntimeError: " + FORGOTTEN.replace("\\", "")] == unraisable
    assert [] == warned
    assert [] == done


async def test_a_forgotten_await_in_a_condition_raises(unraisable: list[str]) -> None:
    """
    `if socket.is_online(user)` without `await` raises: it would always be true.
    """
    with pytest.raises(RuntimeError, match=FORGOTTEN):
        bool(sending())


async def test_the_repr_of_a_task(unraisable: list[str]) -> None:
    """
    A task that has not begun, that runs, or has ended, can be printed, and says what it runs and where.
    """
    fresh, running, cancelled = (asyncio.create_task(sending()) for _ in range(3))
    cancelled.cancel()
    reprs = [repr(fresh), repr(cancelled)]
    await asyncio.sleep(0)
    reprs += [repr(running), repr(cancelled)]
    stack = running.get_stack()
    await asyncio.gather(fresh, running, cancelled, return_exceptions=True)
    reprs += [repr(fresh), repr(cancelled)]

    assert [True] * 6 == ["sending.<locals>.send() " in text and "test_awaited.py" in text for text in reprs]
    assert ["send"] == [frame.f_code.co_name for frame in stack]
    assert [] == unraisable


def test_only_asyncio_may_ask(unraisable: list[str]) -> None:
    """
    The repr of a task asks for the truth of its coroutine from Python 3.12 on; a condition must not.
    """
    coroutine = sending()

    def ask(module: str) -> object:
        return eval("bool(coroutine)", {"__name__": module, "coroutine": coroutine})

    assert ask("asyncio.base_tasks") is True
    for module in ("asyncio_of_mine", "app.views"):
        with pytest.raises(RuntimeError, match=FORGOTTEN):
            ask(module)
    coroutine.close()
    assert ask("app.views") is True


async def test_a_failed_send_in_a_task_is_told_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """
    What a task that nobody waits for raises is in the log of the event loop, with the task, and nothing else.
    """
    task = asyncio.create_task(sending(KeyError("why")))
    await asyncio.wait({task})
    del task
    gc.collect()

    (record,) = caplog.records
    assert "Task exception was never retrieved" in record.getMessage()
    assert "sending.<locals>.send() done" in record.getMessage()
    assert record.exc_info
    assert "'why'" == str(record.exc_info[1])


def test_a_task_that_never_began(unraisable: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """
    A task whose loop ends before its first step is told by asyncio, and that nothing was done by us.
    """
    loop = asyncio.new_event_loop()
    task = loop.create_task(sending())
    loop.close()
    del task
    gc.collect()

    assert ["Task was destroyed but it is pending!"] == [message.split("\n")[0] for message in caplog.messages]
    assert ["RuntimeError: " + FORGOTTEN.replace("\\", "")] == unraisable


async def test_await_gives_the_result(unraisable: list[str]) -> None:
    """
    Awaited, it is the coroutine: result and exception come through, and nothing is printed.
    """
    assert "sent" == await sending()
    with pytest.raises(KeyError, match="why"):
        await sending(KeyError("why"))
    gc.collect()
    assert [] == unraisable


async def test_it_goes_where_a_coroutine_goes(unraisable: list[str]) -> None:
    """
    create_task, gather, wait_for, TaskGroup, shield and run_coroutine_threadsafe take it.
    """
    loop = asyncio.get_running_loop()

    task = asyncio.create_task(sending(1))
    assert "Task" in repr(task)
    async with asyncio.TaskGroup() as group:
        in_group = group.create_task(sending(2))
    gathered = await asyncio.gather(sending(3), sending(4))
    waited = await asyncio.wait_for(sending(5), timeout=1)
    shielded = await asyncio.shield(sending(6))
    from_thread = await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(sending(7), loop).result())

    assert [1, 2, 3, 4, 5, 6, 7] == [await task, in_group.result(), *gathered, waited, shielded, from_thread]
    gc.collect()
    assert [] == unraisable


def test_asyncio_run_takes_it(unraisable: list[str]) -> None:
    """
    `asyncio.run` runs it, as a part of its coroutine or as all of it.
    """

    async def main() -> object:
        return await sending()

    assert "sent" == asyncio.run(main())
    assert "sent" == asyncio.run(sending())
    assert [] == unraisable


async def test_a_cancelled_task_is_no_forgotten_await(unraisable: list[str]) -> None:
    """
    A task that is cancelled before its first step, or in the middle, does nothing more and prints nothing.
    """
    done: list[str] = []
    never_begun, half_way = asyncio.create_task(sending(done=done)), asyncio.create_task(sending(done=done))
    never_begun.cancel()
    await asyncio.sleep(0)
    half_way.cancel()
    results = await asyncio.gather(never_begun, half_way, return_exceptions=True)

    assert [asyncio.CancelledError] * 2 == [type(result) for result in results]
    assert [] == done
    gc.collect()
    assert [] == unraisable


async def test_closing_it_is_no_forgotten_await(unraisable: list[str]) -> None:
    """
    `close()` is how one says that it is not wanted.
    """
    sending().close()
    gc.collect()

    assert [] == unraisable
