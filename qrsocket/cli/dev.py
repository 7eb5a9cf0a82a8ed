"""The whole application on one machine: Redis, worker, beat and web nodes, started in order and ended together."""

import asyncio
import signal
import socket
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from watchfiles import PythonFilter, awatch

from qrsocket.cli.child import MAP
from qrsocket.cli.failed import Failed
from qrsocket.cli.overview import CONSOLE, SCHEDULES, Map, parse_map, print_map
from qrsocket.cli.ports import listening, url_of
from qrsocket.cli.processes import Died, Program, Runner, in_words, running
from qrsocket.cli.screen import Screen
from qrsocket.cli.surroundings import Surroundings, surroundings

START_TIMEOUT = 30.0
# A lone worker need not wait a second for others to introduce themselves.
WORKER_OPTIONS = ("--without-mingle", "--without-gossip")


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What to run.

    Attributes:
        app, celery: `MODULE:NAME` of the ASGI and of the Celery application; no Celery when empty.
        port: Of the first web node; the others have those after it. 0: free ones.
        reload: Run everything again when a Python file below *folder* changes.
    """

    app: str
    celery: str
    host: str
    port: int
    nodes: int
    reload: bool
    folder: Path

    @property
    def web_names(self) -> list[str]:
        return ["web"] if self.nodes == 1 else [f"web-{number}" for number in range(1, self.nodes + 1)]

    @property
    def names(self) -> list[str]:
        return ["map", *(("worker", "beat") if self.celery else ()), *self.web_names]


def dev(plan: Plan, console: Console) -> None:
    """
    Run *plan* until Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        Failed: It could not be started, or a process has died that nothing starts again. Nothing is left running.
    """
    screen = Screen(console, plan.names)
    with (
        listening(plan.host, plan.port, plan.nodes) as listeners,
        surroundings() as around,
        TemporaryDirectory(prefix="qrsocket-dev-") as folder,
    ):
        screen.say(f"Redis is {around.redis}")
        try:
            asyncio.run(_Session(plan, screen, around, listeners, Path(folder)).run())
        except ExceptionGroup as group:
            died, others = group.split(Died)
            if died is None or others is not None:
                raise
            raise Failed(str(died.exceptions[0])) from None


class _Session:
    def __init__(
        self,
        plan: Plan,
        screen: Screen,
        around: Surroundings,
        listeners: Sequence[socket.socket],
        folder: Path,
    ) -> None:
        self._plan, self._screen, self._around = plan, screen, around
        self._listeners, self._folder = listeners, folder
        self._runners: list[Runner] = []
        self._ending = False

    async def run(self) -> None:
        """Run everything until a signal comes."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in one
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal, task)
        try:
            print_map(self._screen.console, map := await self._read_map())
            await self._run_all(map)
        except asyncio.CancelledError:
            if not self._ending:
                raise

    def _on_signal(self, task: "asyncio.Task[None]") -> None:
        if not self._ending:
            self._ending = True
            self._screen.say("ending")
            task.cancel()
            return
        for runner in self._runners:  # the second Ctrl-C
            runner.kill()

    async def _read_map(self) -> Map:
        notes: list[str] = []
        program = Program("map", ("map", self._plan.app, self._plan.celery), self._around.environment)
        async with running(program) as process:
            await process.read(lambda line: self._screen.line("map", line), notes.append)
            code = await process.wait()
        if not notes:
            what = " and ".join(filter(None, (self._plan.app, self._plan.celery)))
            raise Failed(f"reading {what} has ended with {in_words(code)}; the lines above may say why")
        return parse_map(notes[-1].removeprefix(MAP))

    async def _run_all(self, map: Map) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_redis())
            if self._plan.reload:
                group.create_task(self._watch_code())
            for stage in self._stages(has_schedules=bool(map.get(SCHEDULES))):
                runners = [Runner(program, self._screen, reload=self._plan.reload) for program in stage]
                self._runners += runners
                for runner in runners:
                    group.create_task(runner.run())
                await self._wait_until_settled(runners)
            self._say_where([path for [path] in map[CONSOLE]])

    def _stages(self, *, has_schedules: bool) -> Iterator[list[Program]]:
        """Yield what is started together. Each stage waits for the one before."""
        app, environment = self._plan.celery, self._around.environment
        if app:
            words = ("worker", app, str(self._folder / "taken"), *WORKER_OPTIONS)
            yield [Program("worker", words, environment, in_earnest=signal.SIGQUIT)]
        if app and has_schedules:
            yield [Program("beat", ("beat", app, "--schedule", str(self._folder / "schedule")), environment)]
        colours = "colours" if self._screen.has_colours else "plain"
        yield [
            Program(
                name,
                ("web", self._plan.app, str(listener.fileno()), colours),
                {"QRSOCKET_NODE_NAME": name, **environment},
                fds=(listener.fileno(),),
            )
            for name, listener in zip(self._plan.web_names, self._listeners, strict=True)
        ]

    async def _wait_until_settled(self, runners: Sequence[Runner]) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT):
                for runner in runners:
                    await runner.settled.wait()
        except TimeoutError:
            late = ", ".join(runner.program.name for runner in runners if not runner.settled.is_set())
            self._screen.fail(f"{late} not ready within {START_TIMEOUT:g} s: going on without")

    def _say_where(self, consoles: Sequence[str]) -> None:
        if self._around.server is not None:
            url = self._around.server.url
            self._screen.say(f"for qrsocket send, online and doctor elsewhere: export QRSOCKET_REDIS_URL={url}")
        down = ", ".join(runner.program.name for runner in self._runners if not runner.is_ready)
        but = f" except for {down}" if down else ""
        again = "; a change of code starts it again" if self._plan.reload else ""
        self._screen.say(f"everything{but} is ready{again}; Ctrl-C ends it")
        for path in consoles:
            self._screen.say(f"the console is at {url_of(self._listeners[0])}{path}")
        self._screen.say(f"open {' '.join(map(url_of, self._listeners))}", "bold green")

    async def _watch_code(self) -> None:
        folder = self._plan.folder
        try:
            async for changes in awatch(folder, watch_filter=PythonFilter(), ignore_permission_denied=True):
                self._restart({path.removeprefix(f"{folder}/") for _, path in changes})
        except OSError as error:  # too many folders for the kernel, say
            self._screen.fail(f"changes of code cannot be watched ({error}): --no-reload goes without")

    def _restart(self, changed: Set[str]) -> None:
        names = sorted(changed)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        self._screen.say(f"changed: {', '.join(names[:3])}{more}")
        for runner in self._runners:
            runner.restart()

    async def _watch_redis(self) -> None:
        """
        Wait for the end of our own server.

        Raises:
            Died: It came.
        """
        if self._around.server is None:
            return
        process, ended = self._around.server.process, asyncio.Event()

        def look() -> None:
            if process.poll() is not None:
                ended.set()

        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, look)
        look()
        await ended.wait()
        raise Died(f"the embedded Redis has ended by itself (exit code {process.returncode}): start again")
