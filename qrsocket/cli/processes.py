"""The processes of `qrsocket dev`: each on a leash, run again when the code has changed, ended in time."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from qrsocket.cli.child import NOTE, READY
from qrsocket.cli.leash import TO_GROUP
from qrsocket.cli.screen import Screen

# -I -S: it needs nothing but the standard library, and so starts in a few ms.
LEASH = (sys.executable, "-I", "-S", str(Path(__file__).with_name("leash.py")))
CHILD = (sys.executable, "-m", "qrsocket.cli.child")

# Everything ends within 2 s. First the process is asked, and its tasks get a moment. Then it is asked in earnest: a
# worker gives back the tasks that it has fetched, and those that run and are acknowledged late. Only then is asked what
# it has started: with its children gone before, a worker would take such tasks for failed, and acknowledge them. Then
# it is killed.
PATIENCE = (0.4, 0.7, 0.2)
AFTER_KILL = 0.3

CHUNK_BYTES = LONGEST_LINE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Program:
    """
    What a process runs.

    Attributes:
        words: Role and arguments for `qrsocket.cli.child`.
        environment: All of its environment.
        fds: Sockets that it inherits.
        in_earnest: The signal that means more than SIGTERM: for a Celery worker SIGQUIT.
    """

    name: str
    words: tuple[str, ...]
    environment: Mapping[str, str]
    fds: tuple[int, ...] = ()
    in_earnest: int = signal.SIGTERM


class Process:
    """One run of a program."""

    def __init__(self, leash: asyncio.subprocess.Process, in_earnest: int) -> None:
        self._leash, self._in_earnest = leash, in_earnest

    async def read(self, on_line: Callable[[str], None], on_note: Callable[[str], None]) -> None:
        """Call *on_line* with each line of its log and *on_note* with each of its notes, until it ends."""
        assert self._leash.stdout is not None  # noqa: S101 - it was asked for
        async for line in _lines(self._leash.stdout):
            text, is_note, note = line.partition(NOTE)
            if is_note:
                on_note(note)
            if text.strip():
                on_line(text)

    async def wait(self) -> int:
        """Return the exit code; of a process ended by a signal, 128 + its number."""
        return await self._leash.wait()

    def kill(self) -> None:
        """Kill it and all that it has started."""
        assert self._leash.stdin is not None  # noqa: S101 - it was asked for
        self._leash.stdin.close()

    async def end(self) -> None:
        """End it and all that it has started, by asking if that is enough."""
        orders = (signal.SIGTERM, self._in_earnest, signal.SIGTERM + TO_GROUP)
        for order, patience in zip(orders, PATIENCE, strict=True):
            if self._leash.returncode is not None:
                return
            self._order(order)
            await self._wait_at_most(patience)
        self.kill()
        # A process that has left the group keeps the pipe open: it is not waited for.
        await self._wait_at_most(AFTER_KILL)

    def _order(self, order: int) -> None:
        stdin = self._leash.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(bytes([order]))

    async def _wait_at_most(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._leash.wait()
        except TimeoutError:
            pass


@asynccontextmanager
async def running(program: Program) -> AsyncIterator[Process]:
    """Run *program* until the block ends, and with it everything that it has started."""
    # Shielded: to cancel a start half-way kills the leash, which then cannot kill.
    starting = asyncio.ensure_future(_start(program))
    try:
        yield await asyncio.shield(starting)
    finally:
        await (await starting).end()


async def _start(program: Program) -> Process:
    leash = await asyncio.create_subprocess_exec(
        *LEASH,
        *CHILD,
        *program.words,
        env=program.environment,
        pass_fds=program.fds,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a terminal sends Ctrl-C to all of its own
    )
    return Process(leash, program.in_earnest)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield the lines; one that is too long comes in pieces, where readline() would raise."""
    rest = b""
    while chunk := await stream.read(CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LONGEST_LINE_BYTES:
            lines.append(rest)
            rest = b""
        for line in lines:
            yield line.rstrip(b"\r").decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


class Died(Exception):
    """Raised when a process ended by itself and nothing will run it again."""


class Runner:
    """
    Keeps a program running.

    Attributes:
        settled: Set when the program has said for the first time that it is ready, or has ended.
        is_ready: Whether it runs and is ready now.
    """

    def __init__(self, program: Program, screen: Screen, *, reload: bool) -> None:
        self.program = program
        self.settled = asyncio.Event()
        self.is_ready = False
        self._screen, self._reload = screen, reload
        self._changed = asyncio.Event()
        self._process: Process | None = None

    async def run(self) -> None:
        """
        Run the program until cancelled, and again after each change.

        Raises:
            Died: It ended by itself, and changes are not waited for.
        """
        name = self.program.name
        while True:
            self._changed.clear()
            code = await self._run_once()
            if code is None:
                continue
            self.settled.set()
            ended = f"{name} has ended by itself ({in_words(code)}); its last lines say why"
            if not self._reload:
                raise Died(f"{ended}. Mend it and start again")
            self._screen.fail(f"{ended}. Mend it and save: it starts again with the next change of code")
            await self._changed.wait()

    def restart(self) -> None:
        """Run the program again: its code has changed."""
        self._changed.set()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    async def _run_once(self) -> int | None:
        """Run the program to its end, and return its exit code; None if it was ended since the code has changed."""
        async with asyncio.TaskGroup() as group:
            async with running(self.program) as self._process:
                reading = group.create_task(self._process.read(self._on_line, self._on_note))
                ended = group.create_task(self._process.wait())
                changed = group.create_task(self._changed.wait())
                await asyncio.wait((ended, changed), return_when=asyncio.FIRST_COMPLETED)
                code = ended.result() if ended.done() else None
            self.is_ready = False
            await asyncio.wait((reading,), timeout=AFTER_KILL)  # its last words
            for task in (reading, ended, changed):
                task.cancel()
        return None if self._changed.is_set() else code

    def _on_line(self, text: str) -> None:
        self._screen.line(self.program.name, text)

    def _on_note(self, note: str) -> None:
        if note == READY:
            self.is_ready = True
            self.settled.set()
            self._screen.say(f"{self.program.name} is ready")


def in_words(code: int) -> str:
    """Say what an exit code of `Process.wait` means."""
    if code <= 128:
        return f"exit code {code}"
    name = signal.Signals(code - 128).name if code - 128 in set(signal.Signals) else f"signal {code - 128}"
    return f"{name}, out of memory perhaps" if name == "SIGKILL" else name
