"""`qrsocket status`, `top` and `jobs`, against a real server."""

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from qrsocket.cli.status import in_bytes
from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.jobs.queues import duration
from qrsocket.jobs.table import Jobs
from qrsocket.keys import Keys
from qrsocket.settings import get_settings
from tests.clients import PATIENCE
from tests.conftest import MS, Configure
from tests.redis.conftest import Node
from tests.redis.test_cli import SECRET, one_line, qrsocket
from tests.redis.test_status import CARD, do, renew, say
from tests.running import QRSOCKET


def listed(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(qrsocket("jobs", "--json", *words).stdout)
    return found


def in_words(text: str) -> str:
    return " ".join(text.split())


# status


def test_status_of_a_healthy_application(node: Node, keys: Keys) -> None:
    """
    Nodes, workers, users and jobs are shown with their figures, and the exit code is 0.
    """
    node.attach("alice")
    renew(node)
    do(Jobs(keys, get_settings()).announce(["emails"], {}, "celery@box", CARD.to_json()))
    say("queued", "u:alice", "j1", queue="emails")
    result = qrsocket("status")

    assert 0 == result.exit_code
    text = in_words(result.stdout)
    assert "1 user online, 3 connections, 0 topics, 12.5 messages/s jobs: 1 queued" in text
    assert "n1 60 s 0.1.0 web1:7" in text
    assert "3 12.5 4 KiB 1" in text
    assert "celery@box 15 s 0.1.0 box:8 prefork 4 celery, emails" in text
    assert "emails 1 0 s yes" in text
    assert "✓ nothing is wrong" in text


def test_status_says_what_is_wrong(node: Node, redis_server: EmbeddedRedis) -> None:
    """
    A queue that nobody consumes is named, and the exit code is 1, with --json too.
    """
    renew(node)
    say("queued", "u:alice", "j1", queue="mistyped")
    result, as_json = qrsocket("status"), qrsocket("status", "--json")

    assert (1, 1) == (result.exit_code, as_json.exit_code)
    assert "✗ queue mistyped has no worker: 1 waiting, the first for 0 s" in result.stdout
    assert "nothing is wrong" not in result.stdout
    told = json.loads(as_json.stdout)
    assert [{"name": "mistyped", "jobs": 1, "seconds": 0, "is_consumed": False}] == told["queues"]
    assert ("n1", 12.5) == (told["nodes"][0]["name"], told["nodes"][0]["figures"]["messages_per_second"])


def test_status_of_nothing(redis_server: EmbeddedRedis) -> None:
    """
    An application that does not run is no trouble: nothing is there.
    """
    result = qrsocket("status")

    assert 0 == result.exit_code
    assert "0 users online, 0 connections, 0 topics, 0 messages/s jobs: none" in in_words(result.stdout)


@pytest.mark.parametrize("words", [["status"], ["jobs"], ["jobs", "cancel", "x"], ["top", "--once"]])
def test_redis_down(configure: Configure, words: list[str]) -> None:
    """
    Without Redis they end with exit code 1 and one line, which does not hold the password.
    """
    configure(redis_url=f"redis://:{SECRET}@127.0.0.1:1/0", redis_timeout=50 * MS)
    result = qrsocket(*words)

    assert 1 == result.exit_code
    assert "Redis did not" in one_line(result.stderr)
    assert SECRET not in result.output


def test_sizes_and_durations() -> None:
    """
    Bytes and seconds are shown as people read them.
    """
    assert ["119 s", "2 min", "2 h", "47 h", "2 d"] == [duration(s) for s in (119.2, 121, 7201, 172_799, 172_800)]
    assert ["7 B", "2 KiB", "1.5 MiB"] == [in_bytes(number) for number in (7, 2048, 3 * 2**19)]


# top


def test_top_once(node: Node) -> None:
    """
    For scripts it shows the same once; that something is wrong is no failure.
    """
    renew(node)
    say("queued", "u:alice", "j1", queue="mistyped")
    say("started", "u:bob", "j2", run="r")
    result = qrsocket("top", "--once")

    assert 0 == result.exit_code
    assert "✗ queue mistyped has no worker" in result.stdout
    assert "j2 bob t started" in in_words(result.stdout)


def test_top_is_live(node: Node, tmp_path: Path) -> None:
    """
    On a terminal it shows what has changed, until Ctrl-C, and leaves the terminal as it was.
    """
    renew(node)
    terminal, its = pty.openpty()
    program = subprocess.Popen(
        [QRSOCKET, "top"], stdout=its, stderr=subprocess.STDOUT, env={**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    )
    os.close(its)
    shown = b""

    def read_until(words: bytes) -> None:
        nonlocal shown
        deadline = time.monotonic() + PATIENCE
        while words not in shown:
            assert time.monotonic() < deadline, shown[-2000:]
            shown += os.read(terminal, 4096)

    read_until(b"jobs: none")
    say("queued", "u:alice", "j1")
    read_until(b"jobs: 1 queued")
    program.send_signal(signal.SIGINT)
    read_until(b"\x1b[?1049l")

    assert 0 == program.wait(PATIENCE)
    os.close(terminal)


# jobs


@pytest.fixture
def some_jobs(configure: Configure, redis_server: EmbeddedRedis) -> None:
    configure(shards=2)
    for id, user in (("waits", "alice"), ("runs", "bob"), ("failed", "alice"), ("done", "carol")):
        say("queued", f"u:{user}", id)
    say("started", "u:bob", "runs", run="r")
    say("ended", "u:alice", "failed", run="r", state="failed", error="the file is empty")
    say("ended", "u:carol", "done", run="r", state="succeeded", result='{"secret": 1}')


@pytest.mark.usefixtures("some_jobs")
def test_jobs_are_listed() -> None:
    """
    Those of all users and shards, those that have not ended first; of one user or in one state when asked for.
    """
    everybody = [(job["user"], job["id"], job["state"]) for job in listed()]
    assert {("alice", "waits", "queued"), ("bob", "runs", "started")} == set(everybody[:2])
    assert {("alice", "failed", "failed"), ("carol", "done", "succeeded")} == set(everybody[2:])
    assert {"waits", "failed"} == {job["id"] for job in listed("--user", "alice")}
    assert ["failed"] == [job["id"] for job in listed("--user", "alice", "--state", "failed")]
    assert ["runs"] == [job["id"] for job in listed("--state", "started")]
    assert 2 == len(listed("--most", "2"))
    assert "secret" not in json.dumps([listed(), listed("--user", "carol")])


@pytest.mark.usefixtures("some_jobs")
def test_jobs_as_a_table() -> None:
    """
    People see a table, with what went wrong.
    """
    text = in_words(qrsocket("jobs").stdout)

    assert "failed alice t failed 1" in text
    assert "the file is empty" in text
    assert "done carol t succeeded 1 100 %" in text
    assert "4 listed" in text


@pytest.mark.usefixtures("some_jobs")
def test_jobs_cancel() -> None:
    """
    One that waits is cancelled, one that runs is told to stop, and one that has ended stays as it is.
    """
    told = [qrsocket("jobs", "cancel", id).stdout for id in ("waits", "runs", "failed")]

    assert ["waits is cancelled\n", "runs runs, and is told to stop\n", "failed has ended already: failed\n"] == told
    assert [("runs", True)] == [(job["id"], job["cancelling"]) for job in listed("--state", "started")]


@pytest.mark.usefixtures("some_jobs")
def test_jobs_end() -> None:
    """
    One that no worker will report on is lost at once.
    """
    assert "runs is lost\n" == qrsocket("jobs", "end", "runs").stdout
    assert ["runs"] == [job["id"] for job in listed("--state", "lost")]


@pytest.mark.usefixtures("some_jobs")
def test_jobs_that_nobody_knows_or_several_have() -> None:
    """
    That is said, with what to do.
    """
    say("queued", "u:dave", "waits")
    unknown, several = qrsocket("jobs", "end", "nosuch"), qrsocket("jobs", "cancel", "waits")
    of_another = qrsocket("jobs", "cancel", "waits", "--user", "bob")

    assert "qrsocket: no job is known by the id nosuch" == one_line(unknown.stderr)
    assert "2 users have a job with the id waits: name one with --user" in one_line(several.stderr)
    assert (1, 1, 1) == (unknown.exit_code, several.exit_code, of_another.exit_code)
    assert "waits is cancelled\n" == qrsocket("jobs", "cancel", "waits", "--user", "dave").stdout


@pytest.mark.parametrize("words", [["status"], ["top"], ["jobs"], ["jobs", "cancel"], ["jobs", "end"]])
def test_help_teaches(words: list[str]) -> None:
    """
    The help of each command has examples that can be copied.
    """
    text = qrsocket(*words, "--help").stdout

    assert f"qrsocket {' '.join(words)}" in text.split("Examples")[1]
