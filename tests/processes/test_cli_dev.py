"""`qrsocket dev` as a user runs it, on an application of its own in a folder of its own."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from rich.console import Console

from qrsocket.cli.processes import LONGEST_LINE_BYTES, _lines
from qrsocket.cli.screen import Screen
from qrsocket.embedded_redis import embedded_redis
from tests.clients import PATIENCE, Open
from tests.conftest import until
from tests.running import START_TIMEOUT, Running

COMMAND = str(Path(sys.executable).with_name("qrsocket"))
# As in a shell where nothing is set; and Python's cache cannot tell two edits within one second apart.
VARIABLES = ("QRSOCKET_REDIS_URL", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")
ENVIRONMENT = {**dict.fromkeys(VARIABLES, ""), "PYTHONDONTWRITEBYTECODE": "1"}

WEB = """
import os
import time
from typing import Any

from fastapi import FastAPI

from qrsocket import User, socket
from qrsocket.server import SocketRouter
from shop import jobs

router = SocketRouter("/socket")

@router.on_connect
async def on_connect(query: dict[str, str]) -> User:
    return User(query["user"])

@router.on_message(timeout=3600)
def on_message(data: Any) -> None:
    time.sleep(3600)

app = FastAPI()
app.include_router(router)

@app.get("/version")
def version() -> int:
    return 1

@app.get("/environment")
def environment() -> dict[str, str]:
    return dict(os.environ)

@app.post("/jobs/version")
def version_of_jobs() -> int:
    return jobs.version.delay().get(timeout=20)

@app.post("/jobs/sleep")
def sleep() -> None:
    jobs.sleep.delay()

@app.post("/jobs/hold")
def hold() -> None:
    jobs.hold.delay()
    jobs.hold.apply_async(countdown=1)
    jobs.version.apply_async(countdown=2)
"""
JOBS = """
import subprocess
import time
from celery import Celery
from qrsocket.celery import install

app = Celery("shop")
app.conf.beat_schedule = {"nightly": {"task": "shop.jobs.version", "schedule": 3600.0}}
install(app)

@app.task
def version() -> int:
    return 1

@app.task(acks_late=True)
def hold() -> None:
    print("holding")
    time.sleep(3600)

@app.task
def sleep() -> None:
    with subprocess.Popen(["sleep", "3600"]):
        print("sleeping")
"""


def new_project(folder: Path) -> Path:
    package = folder / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "web.py").write_text(WEB)
    (package / "jobs.py").write_text(JOBS)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return new_project(tmp_path)


class Dev(Running):
    """
    A `qrsocket dev`.

    Attributes:
        urls: Of its web nodes.
        descendants: What it had started, and what these had, when we last looked around.
    """

    urls: list[str]

    def __init__(self, folder: Path, *words: str, env: dict[str, str]) -> None:
        command = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), COMMAND, "dev", *words]
        # What a killed one leaves in its folder for temporary files goes with the project.
        super().__init__("dev", command, {**ENVIRONMENT, "TMPDIR": str(folder), **env})
        self.descendants: list[psutil.Process] = []

    def wait_until_ready(self) -> None:
        self.urls = self.wait_for(r"\| open (http.*)")[1].split()
        self.look_around()

    def look_around(self) -> None:
        self.descendants = psutil.Process(self.pid).children(recursive=True)

    def find(self, role: str) -> psutil.Process:
        """Return the process of a role: "web", "worker", "beat"; not its leash, nor its own children."""
        words = ["-m", "qrsocket.cli.child", role]
        return next(process for process in self.descendants if process.cmdline()[1:4] == words)

    @property
    def redis_url(self) -> str:
        return self.wait_for(r"QRSOCKET_REDIS_URL=(redis:\S+)")[1]

    def ask(self, path: str, *, method: str = "GET", node: int = 0) -> Any:
        with urlopen(Request(f"{self.urls[node]}{path}", method=method), timeout=START_TIMEOUT) as answer:
            return json.load(answer)

    def position(self, text: str) -> int:
        return next(number for number, line in enumerate(self.log) if text in line)

    async def all_gone(self) -> None:
        """Wait until nothing of it is left. What is dead and was not waited for by its parent is gone."""
        await until(lambda: not any(is_alive(process) for process in self.descendants))


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running_dev(folder: Path, *words: str, **env: str) -> Iterator[Dev]:
    """Run it on a free port until the block ends."""
    dev = Dev(folder, "shop.web:app", "--port", "0", *words, env=env)
    try:
        dev.wait_until_ready()
        yield dev
    finally:
        dev.stop()
        for process in filter(is_alive, dev.descendants):  # of a test that has failed
            process.kill()


CELERY = ("--celery", "shop.jobs:app")


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One with everything, for tests that only look."""
    project = new_project(tmp_path_factory.mktemp("project"))
    with running_dev(project, *CELERY, "--nodes", "2") as dev:
        yield dev


def test_map(dev: Dev) -> None:
    """
    Routes, WebSocket routes, tasks and schedules are printed before anything starts.
    """
    map = dev.log[: dev.position("worker is ready")]

    for row in (
        r"GET +/version +version",
        r"POST +/jobs/sleep +sleep",
        r"^WebSockets +/socket ",
        r"^Tasks +shop\.jobs\.hold",
        r"^Schedules +nightly +freq: 1\.00 hour +shop\.jobs\.version",
    ):
        assert any(re.search(row, line) for line in map), row
    assert 1 == sum("/socket/ready" in line for line in map)


def test_console(dev: Dev) -> None:
    """
    The address of the console is said, each node has it, and only for this machine.
    """
    said = dev.log[dev.position("the console is at")]
    assert said.endswith(f"{dev.urls[0]}/socket/console")
    assert any(re.search(r"^Console +/socket/console$", line) for line in dev.log)
    for url in dev.urls:
        with urlopen(f"{url}/socket/console") as page:
            assert b"qrsocket console" in page.read()
        request = Request(f"{url}/socket/console", headers={"Host": "evil.example"})
        with pytest.raises(HTTPError, match="403"):
            urlopen(request)


def test_order(dev: Dev) -> None:
    """
    Redis, worker, beat and web are ready one after the other, then the address is said.
    """
    lines = ("Redis is embedded", "worker is ready", "beat is ready", "web-1 is ready", "open http")

    positions = [dev.position(line) for line in lines]

    assert sorted(positions) == positions


def test_every_node_answers(dev: Dev) -> None:
    """
    Each of several nodes has an address of its own.
    """
    assert 2 == len(set(dev.urls))
    assert [1, 1] == [dev.ask("/version", node=node) for node in (0, 1)]
    assert ["web-1", "web-2"] == [dev.ask("/socket/ready", node=node)["node"].split(".")[0] for node in (0, 1)]


def test_jobs_run(dev: Dev) -> None:
    """
    An application that names no broker and no result backend runs its jobs.
    """
    assert 1 == dev.ask("/jobs/version", method="POST")


def test_environment(dev: Dev) -> None:
    """
    The processes find the embedded server, and Celery's part of it.
    """
    environment = dev.ask("/environment")

    assert [dev.redis_url] * 3 == [environment[name] for name in VARIABLES]


def test_log_lines(dev: Dev) -> None:
    """
    Each line of a process stands behind its name, all names as wide, without colours where there is no terminal.
    """
    log = dev.log[dev.position("worker is ready") :]

    assert {"dev   ", "worker", "beat  ", "web-1 ", "web-2 "} == {line.partition(" | ")[0] for line in log}
    assert not any("\x1b" in line for line in dev.log)


async def test_doctor_and_send(dev: Dev, open_client: Open) -> None:
    """
    The other commands work beside it: its nodes answer the doctor's probe, and a message arrives.
    """
    client = await open_client(dev.urls[1].removeprefix("http://"), "/socket?user=alice")

    doctor = await run("doctor", redis_url=dev.redis_url)
    online = await run("online", redis_url=dev.redis_url)
    sent = await run("send", "alice", '{"hello": "alice"}', redis_url=dev.redis_url)

    assert 2 == len(re.findall(r"✓ web node web-[12]\.\w+: it answers", doctor))
    assert "alice\n" == online
    assert re.fullmatch(r"sent to 1 connection on 1 node\nmessage \S+\n", sent)
    assert {"hello": "alice"} == await client.receive()


async def run(*words: str, redis_url: str) -> str:
    """Run a command, and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        COMMAND, *words, env={**os.environ, "QRSOCKET_REDIS_URL": redis_url}, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert 0 == process.returncode, output.decode()
    return output.decode()


async def test_reload(project: Path) -> None:
    """
    A change of code reaches web and worker; what does not start waits for the next change, while the rest runs on.
    """
    with running_dev(project, *CELERY) as dev:
        web, jobs = project / "shop/web.py", project / "shop/jobs.py"

        frozen = dev.find("beat")
        frozen.suspend()
        since = len(dev.log)
        jobs.write_text(JOBS.replace("return 1", "return 2"))
        web.write_text(WEB.replace("return 1", "return 2"))
        for name in ("worker", "beat", "web"):
            dev.wait_for(f"{name} is ready", since=since)
        assert [2, 2] == [dev.ask("/version"), dev.ask("/jobs/version", method="POST")]
        assert not is_alive(frozen), "what does not end when it is asked is to be killed"

        since = len(dev.log)
        web.write_text("1 / 0")
        dev.wait_for("ZeroDivisionError", since=since)
        dev.wait_for(r"web has ended by itself \(exit code 1\).* starts again with the next change", since=since)
        dev.wait_for("worker is ready", since=since)

        since = len(dev.log)
        web.write_text(WEB.replace("return 1", "return 3"))
        dev.wait_for("web is ready", since=since)
        dev.wait_for("worker is ready", since=since)
        assert [3, 2] == [dev.ask("/version"), dev.ask("/jobs/version", method="POST")]

        dev.look_around()
        dev.process.terminate()

        assert 0 == dev.process.wait(PATIENCE)
        await dev.all_gone()


@pytest.mark.parametrize("end", [None, signal.SIGSTOP], ids=["asked", "killed"])
def test_a_change_gives_back_what_the_worker_had(project: Path, end: signal.Signals | None) -> None:
    """
    When a file is saved, jobs that run and are acknowledged late, and those that wait for their time, are run by the
    next worker at once, also when the one before had to be killed.
    """
    with running_dev(project, *CELERY) as dev:
        since = len(dev.log)
        dev.ask("/jobs/hold", method="POST")
        for version in (2, 3):
            wait_for_times(dev, "holding", 2, since)
            dev.look_around()
            if end is not None:
                dev.find("worker").send_signal(end)
            since = len(dev.log)
            (project / "shop/jobs.py").write_text(JOBS.replace("return 1", f"return {version}"))
            dev.wait_for("worker is ready", since=since)
        wait_for_times(dev, "holding", 2, since)


def wait_for_times(dev: Dev, text: str, times: int, since: int) -> None:
    for _ in range(times):
        dev.wait_for(text, since=since)
        since = next(number for number in range(since, len(dev.log)) if text in dev.log[number]) + 1


async def test_ctrl_c(project: Path, open_client: Open) -> None:
    """
    Ctrl-C ends everything, with a task and a handler that would go on for an hour and a client that does not read.
    """
    with running_dev(project, *CELERY, "--no-reload") as dev:
        client = await open_client(dev.urls[0].removeprefix("http://"), "/socket?user=alice")
        await client.send("sleep")
        client.connection.transport.pause_reading()
        dev.ask("/jobs/sleep", method="POST")
        dev.wait_for("sleeping")

        dev.send_signal(signal.SIGINT)  # to the whole process group, as a terminal does

        assert 0 == dev.process.wait(PATIENCE)
        await dev.all_gone()
        client.connection.transport.abort()
    assert not [line for line in dev.log if "Connection refused" in line], "Redis did not end last"


async def test_kill(project: Path) -> None:
    """
    A SIGKILL of `dev` leaves nothing behind: not the server, not the children of the worker, not what a task runs.
    """
    with running_dev(project, *CELERY) as dev:
        dev.ask("/jobs/sleep", method="POST")
        dev.wait_for("sleeping")
        dev.look_around()
        assert "sleep" in {process.name() for process in dev.descendants}

        dev.process.kill()

        await dev.all_gone()


async def test_a_process_dies(project: Path) -> None:
    """
    Without reload, the end of one process is said and is the end of all, with exit code 1.
    """
    with running_dev(project, "--no-reload") as dev:
        dev.find("web").kill()

        assert 1 == dev.process.wait(PATIENCE)
        await dev.all_gone()
    assert "qrsocket: web has ended by itself (SIGKILL" in dev.log[-1]


async def test_redis_dies(project: Path) -> None:
    """
    The end of the embedded server is said and is the end of all, also with reload.
    """
    with running_dev(project) as dev:
        server = next(process for process in dev.descendants if "server" in process.name())

        server.kill()

        assert 1 == dev.process.wait(PATIENCE)
        await dev.all_gone()
    assert "the embedded Redis has ended by itself" in dev.log[-1]


def test_configured_redis(project: Path) -> None:
    """
    A server that is configured is used, and none is started; a broker that is configured stays.
    """
    with (
        embedded_redis() as server,
        embedded_redis() as broker,
        running_dev(project, QRSOCKET_REDIS_URL=server.url, CELERY_BROKER_URL=broker.url) as dev,
    ):
        environment = dev.ask("/environment")

        assert [server.url, broker.url, server.url] == [environment[name] for name in VARIABLES]
        assert not [process for process in dev.descendants if "server" in process.name()]


def failing(folder: Path, *words: str, **env: str) -> list[str]:
    """Run a `dev` that cannot start, and return what it said."""
    dev = Dev(folder, *words, env=env)
    try:
        assert 1 == dev.process.wait(START_TIMEOUT)
    finally:
        dev.stop()
    return dev.log


@contextmanager
def a_free_port_and_a_taken_one() -> Iterator[tuple[int, int]]:
    """Find two ports that follow each other, and listen on the second."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first, suppress(OSError):
            free = first.getsockname()[1]
            taken = socket.create_server(("127.0.0.1", free + 1))
            break
    with taken:
        yield free, free + 1


def test_port_in_use(project: Path) -> None:
    """
    A port that is taken, also that of a later node, is said before anything is started.
    """
    with a_free_port_and_a_taken_one() as (free, taken):
        log = failing(project, "shop.web:app", "--port", str(free), "--nodes", "2")

    assert [f"qrsocket: cannot listen on 127.0.0.1, port {taken} (Address already in use)"] == [
        line.partition(":")[0] + ":" + line.partition(":")[2].partition(":")[0] for line in log
    ]


@pytest.mark.parametrize(
    ("target", "source", "expected"),
    [
        ("shop.nowhere:app", "", "there is no module 'shop.nowhere' here"),
        ("shop.broken:nothing", "", "module 'shop.broken' has no attribute 'nothing'"),
        ("shop.broken:app", "1 / 0", "ZeroDivisionError: division by zero"),
        ("shop.broken:app", "import os; os._exit(3)", "reading shop.broken:app has ended with exit code 3"),
        ("shop", "", "MODULE:APP is a module and a name in it"),
    ],
    ids=["no module", "no attribute", "exception", "hard exit", "no name"],
)
def test_import_error(project: Path, target: str, source: str, expected: str) -> None:
    """
    An application that cannot be imported is said in one line at the end.
    """
    (project / "shop/broken.py").write_text(source)

    log = failing(project, target, "--port", "0")

    assert log[-1].startswith("qrsocket: ")
    assert expected in log[-1]


def test_celery_of_another_kind(project: Path) -> None:
    """
    What --celery names and is no Celery application is said in one line at the end.
    """
    log = failing(project, "shop.web:app", "--celery", "shop.web:app", "--port", "0")

    assert "qrsocket: --celery shop.web:app is a FastAPI: it takes a Celery application" == log[-1]


def test_redis_down(project: Path) -> None:
    """
    A configured server that does not answer is said, without the password.
    """
    log = failing(project, "shop.web:app", "--port", "0", QRSOCKET_REDIS_URL="redis://:s3cr3t@127.0.0.1:1/0")

    assert ["qrsocket: connection: nothing listens there (redis://***@127.0.0.1:1/0)"] == [
        line.partition("): ")[0] + ")" for line in log
    ]


def shown(env: dict[str, str]) -> list[str]:
    """Return what a terminal gets for one line each of two processes."""
    output = StringIO()
    screen = Screen(Console(file=output, force_terminal=True, color_system="standard", _environ=env), ["web", "worker"])
    screen.line("web", "[red]one")
    screen.line("worker", "two")
    return output.getvalue().splitlines()


def test_colours() -> None:
    """
    On a terminal each process has a colour of its own, and its text stays as it is.
    """
    web, worker = shown({})

    assert "\x1b[32mweb    | \x1b[0m[red]one" == web
    assert "\x1b[34mworker | \x1b[0mtwo" == worker


def test_no_color() -> None:
    """
    With NO_COLOR set there are none.
    """
    assert ["web    | [red]one", "worker | two"] == shown({"NO_COLOR": "1"})


async def test_long_lines() -> None:
    """
    A line that is too long comes in pieces, and the next one comes whole.
    """
    stream = asyncio.StreamReader(limit=2**20)
    stream.feed_data(b"x" * 200_000 + b"\r\nend")
    stream.feed_eof()

    *pieces, end = [line async for line in _lines(stream)]

    assert "x" * 200_000 == "".join(pieces)
    assert max(map(len, pieces)) <= 2 * LONGEST_LINE_BYTES
    assert "end" == end
