"""A timeout that does not blame another process for what this one was too busy to hear."""

import asyncio
import time

import pytest

from qrsocket.patient_timeout import PatientTimeout
from tests.conftest import MS


async def test_silence_times_out() -> None:
    """
    Where nothing comes, TimeoutError is raised, and not before the time.
    """
    began_at = time.monotonic()

    with pytest.raises(TimeoutError):
        async with PatientTimeout(20 * MS):
            await asyncio.Event().wait()

    assert time.monotonic() - began_at >= 20 * MS


async def test_what_came_while_the_loop_was_busy() -> None:
    """
    An answer that waits in its socket when the loop is back, late, is in time: however long the loop was away.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"answer\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])

        async with PatientTimeout(10 * MS):
            time.sleep(50 * MS)  # noqa: ASYNC251 - a busy loop is what is tested
            assert b"answer\n" == await reader.readline()

        writer.close()


async def test_it_begins_anew() -> None:
    """
    `restart` counts from now, and what ends in time leaves no timer behind that cancels what comes after.
    """
    async with PatientTimeout(10 * MS) as listening:
        listening.restart(10_000 * MS)
        await asyncio.sleep(50 * MS)
    async with PatientTimeout(10 * MS):
        pass

    await asyncio.sleep(50 * MS)
