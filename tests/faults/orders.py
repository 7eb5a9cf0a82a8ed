"""What the driver tells its client and publisher processes, and what they answer: a line of JSON each way."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from tests.running import ROOT

START_TIMEOUT, STOP_TIMEOUT = 20.0, 10.0

# Gets the words of an order, and returns its answer.
Obey: TypeAlias = Callable[..., Awaitable[Any]]


class Told:
    """A process that obeys."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._one_at_a_time = asyncio.Lock()

    async def ask(self, order: str, *, timeout: float, **words: Any) -> Any:
        """
        Give an order and return its answer.

        Raises:
            AssertionError: The process has ended, or did not answer within *timeout* seconds.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(timeout):
                    self._process.stdin.write(json.dumps({"order": order, **words}).encode() + b"\n")
                    await self._process.stdin.drain()
                    answer = await self._process.stdout.readline()
            except (TimeoutError, ConnectionError) as error:
                raise AssertionError(f"{self.name} did not answer to {order!r}: {error!r}") from None
        assert answer, f"{self.name} has ended"
        return json.loads(answer)


@asynccontextmanager
async def told(module: str, *words: str, env: dict[str, str], log: Path) -> AsyncIterator[Told]:
    """Run `python -m MODULE WORDS`, begun, until the block ends; the end of its standard input ends it."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *words,
            cwd=ROOT,
            env=env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            process_group=0,
        )
    obedient = Told(" ".join([module, *words]), process)
    try:
        await obedient.ask("begin", timeout=START_TIMEOUT)
        yield obedient
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def obey(**orders: Obey) -> None:
    """
    Take orders on standard input and answer on standard output, one after the other, until the input ends.

    The first order is `begin`: whoever has come so far can obey.
    """
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        words = json.loads(line)
        order = words.pop("order")
        answer = None if order == "begin" else await orders[order](**words)
        print(json.dumps(answer), flush=True)
