"""The pytest plugin, in suites of its own."""

import os
import time
from pathlib import Path

import psutil

from tests.conftest import until
from tests.testing.suites import end, run, start

TASKS = """
import os, time
from celery import Celery
from qrsocket.celery import install, notify_user
from qrsocket.sync import socket

app = Celery("tasks", broker="redis://localhost:1/0")
install(app)

@app.task
@notify_user(result=True)
def add(a, b):
    print(f"adding {a} {b} {os.environ.get('COLOUR')}")
    socket.send({"sum": a + b})
    return a + b

@app.task(acks_late=True, reject_on_worker_lost=True)
@notify_user
def wait():
    time.sleep(30)
"""
SHOP = """
from fastapi import FastAPI
from qrsocket.server import SocketRouter
from tasks import add, wait

app = FastAPI()
router = SocketRouter("/shop")
gone = []

@router.on_message
def on_message(data: list[int]) -> None:
    add.delay(*data) if data else wait.delay()

@router.on_offline
async def on_offline(user_id: str) -> None:
    gone.append(user_id)

app.include_router(router)
"""


def test_nobody_notices_it(tmp_path: Path) -> None:
    """
    A suite that does not use it loads nothing of it, and none of its tests is touched.
    """
    suite = """
import os, sys

def test_nothing_is_loaded(request):
    assert not {"qrsocket", "redis", "celery", "uvicorn"} & {name.split(".")[0] for name in sys.modules}
    assert "pytest_qrsocket" in sys.modules
    assert ["request"] == request.fixturenames
    assert "QRSOCKET_REDIS_URL" not in os.environ
"""
    assert "1 passed" in run(tmp_path, {"test_a.py": suite}, "-p", "no:asyncio", "-o", "asyncio_mode=", "-W", "default")


def test_redis(tmp_path: Path) -> None:
    """
    Redis is empty when a test begins, whatever the one before did to it, and so is the broker.
    """
    suite = """
import os
import pytest
from qrsocket.settings import get_settings
from qrsocket.sync import socket
from tasks import add

ports = set()

@pytest.mark.parametrize("n", range(4))
def test_redis(qrsocket_redis, n):
    ports.add(qrsocket_redis.port)
    assert len(ports) == 1
    assert get_settings().redis_url.get_secret_value() == qrsocket_redis.url
    for db in (0, 1):
        with qrsocket_redis.client(db) as client:
            assert client.dbsize() == 0
    socket.to("alice").send("hello")
    add.delay(1, 2)
    for db in (0, 1):
        with qrsocket_redis.client(db) as client:
            assert client.dbsize() > 0
    if n == 1:
        qrsocket_redis.kill()
    if n == 2:
        qrsocket_redis.restart(keep_data=True)
        assert not socket.to("alice").send("hello")  # nobody is online, and nothing is raised

def test_settings(qrsocket_settings):
    qrsocket_settings(lease=30, rate=7)
    qrsocket_settings(lease=40)
    assert (get_settings().lease, get_settings().rate) == (40, 7)

def test_settings_after_it():
    assert (get_settings().lease, get_settings().rate) == (15, 20)
"""
    assert "6 passed" in run(tmp_path, {"test_a.py": suite, "tasks.py": TASKS})


def test_side_by_side(tmp_path: Path) -> None:
    """
    Several pytests at once, such as those of pytest-xdist, do not disturb each other.
    """
    suite = """
import pytest
from qrsocket.testing import client
from shop import app

@pytest.mark.parametrize("n", range(10))
async def test_alone(qrsocket_redis, n):
    from qrsocket import socket
    assert await socket.online() == set()
    async with client(app, user="alice") as alice:
        assert await socket.online() == {"alice"}
        await alice.receives_nothing()
"""
    processes = []
    for name in "ab":
        (tmp_path / name).mkdir()
        processes.append(start(tmp_path / name, {"test_a.py": suite, "tasks.py": TASKS, "shop.py": SHOP}))
    for process in processes:
        assert "10 passed" in end(process)


def test_workers(tmp_path: Path) -> None:
    """
    Workers run what the suite can import, for the test or longer; killed, their jobs go to another.
    """
    suite = """
import asyncio, os, pathlib, sys, time
import psutil, pytest
from qrsocket.testing import client, worker
from shop import app, gone

pids = []

@pytest.fixture(scope="module")
def of_module(qrsocket_redis_server):
    with worker("tasks", env={"COLOUR": "green"}, pool="solo") as running:
        yield running

async def test_killed(qrsocket_worker, qrsocket_settings):
    qrsocket_settings(offline_grace=0.02, renew_interval=0.02)
    first = qrsocket_worker("tasks", concurrency=1)
    pids.append(first.pid)
    async with client(app, user="alice") as alice:
        await alice.send([])
        while not alice.jobs:
            await asyncio.sleep(0.01)
        (id,) = alice.jobs
        await alice.job_is(id, "started")
        first.kill()
        first.kill()
        second = qrsocket_worker("tasks", concurrency=1)
        await alice.send([1, 2])
        await alice.receives({"sum": 3}, timeout=10)
    async with client(app) as nobody:
        while gone != ["alice"]:
            await asyncio.sleep(0.01)
    pids.append(second.pid)

def test_both_have_ended():
    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)

@pytest.mark.parametrize("n", [3, 4])
async def test_of_module(of_module, qrsocket_redis, n):
    async with client(app, user="alice") as alice:
        assert not alice.jobs
        await alice.send([n, n])
        await alice.receives({"sum": 2 * n}, timeout=10)
        assert (await alice.job_ends(next(iter(alice.jobs)))).result == 2 * n
    of_module.wait_for("adding 3 3 green")

def test_it_does_not_start(qrsocket_worker):
    with pytest.raises(AssertionError, match="(?s)worker ended without.*The module nothing was not found"):
        qrsocket_worker("nothing")

async def test_its_log_is_shown(of_module, qrsocket_redis):
    async with client(app, user="alice") as alice:
        await alice.send([40, 2])
        await alice.receives({"sum": 41}, timeout=10)
"""
    output = run(tmp_path, {"test_a.py": suite, "tasks.py": TASKS, "shop.py": SHOP})

    assert "1 failed, 5 passed" in output
    assert 'this came\nE             {"sum":42}' in output or '{"sum":42}' in output
    assert "worker | adding 40 2 green" in output or "adding 40 2 green" in output.partition("Captured log call")[2]


async def test_a_killed_pytest_leaves_nothing_behind(tmp_path: Path) -> None:
    """
    When pytest is killed, its Redis and its workers go with it.
    """
    suite = """
import pathlib, time

def test_wait(qrsocket_worker, qrsocket_redis):
    worker = qrsocket_worker("tasks")
    pathlib.Path("ready").write_text("ready")
    time.sleep(60)
"""
    with start(tmp_path, {"test_a.py": suite, "tasks.py": TASKS}) as process:
        await until((tmp_path / "ready").exists, timeout=30)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 4  # Redis, the worker and its two children

        process.kill()
        process.communicate()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert [] == alive


def test_how_long_it_takes_to_load() -> None:
    """
    To load it costs a pytest that does not use it a few ms at most.
    """
    import importlib

    import pytest_qrsocket

    began_at = time.process_time()
    importlib.reload(pytest_qrsocket)
    assert time.process_time() - began_at < 0.02
    assert os.path.getsize(pytest_qrsocket.__file__) < 5000
