"""`qrsocket send`, `online` and `doctor`, against a real server."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis as redis_py
from celery import Celery, signals
from kombu import Connection
from pydantic import SecretStr
from rich.console import Console
from typer.testing import CliRunner, Result

from qrsocket import clients
from qrsocket.celery import install
from qrsocket.celery.announcing import announce
from qrsocket.cli.address import for_celery, shown
from qrsocket.cli.app import app
from qrsocket.cli.ask import print_online
from qrsocket.cli.probing import ANSWER_TIMEOUT
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from qrsocket.fanout.publish import Envelope, answer_probe
from qrsocket.jobs.table import JobKey, Jobs
from qrsocket.keys import Keyspace
from qrsocket.message import Kind
from qrsocket.roundtrip import Call, run
from qrsocket.settings import Settings, get_settings
from qrsocket.streams import of_user
from tests.clients import PATIENCE
from tests.conftest import MS, Configure
from tests.redis.conftest import NewNode, Node
from tests.redis.outages import another_program

SECRET = "s3cr3t-pass"


def qrsocket(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def one_line(text: str) -> str:
    assert 1 == text.count("\n"), f"not one line: {text!r}"
    return text.rstrip("\n")


def first_line(text: str) -> str:
    """Return it; the second names the message."""
    first, second = text.splitlines()
    assert re.fullmatch(r"message [0-9a-f]+:\d+", second)
    return first


@contextmanager
def answering(node: Node, client: redis_py.Redis, lost: str = "") -> Iterator[None]:
    """Let *node* answer probes, as a web node does."""
    done = threading.Event()

    def answer() -> None:
        while not done.is_set():
            message = node._subscription.get_message(timeout=0.02)
            envelope = Envelope.parse(message["data"]) if message else None
            if envelope is not None and envelope.message.kind is Kind.PROBE:
                keys = Keyspace.of(get_settings()).shards[0]
                run(client, answer_probe(keys, lost, envelope.message_id), timeout=PATIENCE)

    thread = threading.Thread(target=answer)
    thread.start()
    yield
    done.set()
    thread.join()


# send


def test_send_says_how_many_it_reached(node: Node, second_node: Node) -> None:
    """
    `send` prints the connections and nodes that the message was routed to.
    """
    node.attach("alice", 2)
    second_node.attach("alice", 1)

    result = qrsocket("send", "alice", "hello")

    assert (0, "sent to 3 connections on 2 nodes") == (result.exit_code, first_line(result.stdout))


def test_send_to_someone_offline(redis_server: EmbeddedRedis) -> None:
    """
    Nobody there is no error, and is said.
    """
    result = qrsocket("send", "alice", "hello")

    assert (0, "alice is offline: sent to 0 connections") == (result.exit_code, first_line(result.stdout))


def test_send_to_a_topic(node: Node, second_node: Node) -> None:
    """
    `send --topic` reaches all who have joined, and says so where nobody has.
    """
    empty = qrsocket("send", "--topic", "room:7", "hello")
    node.attach_all(["t:room:7"])
    second_node.attach_all(["t:room:7"])
    result = qrsocket("send", "room:7", "hello", "--topic")

    assert (0, "nobody has joined room:7: sent to 0 connections") == (empty.exit_code, first_line(empty.stdout))
    assert (0, "sent to 2 connections on 2 nodes") == (result.exit_code, first_line(result.stdout))
    assert [b"hello"] == node.messages()


@pytest.mark.parametrize(
    ("words", "payload"),
    [
        (["see you at noon"], b"see you at noon"),
        (['{"a":  [1, 2]}'], b'{"a":[1,2]}'),
        (['{"a":  [1, 2]}', "--text"], b'{"a":  [1, 2]}'),
        (['"quoted"'], b'"quoted"'),
        (["NaN"], b"NaN"),
    ],
    ids=["text", "json", "json as text", "json string", "not quite json"],
)
def test_send_json_or_text(node: Node, words: list[str], payload: bytes) -> None:
    """
    What is JSON is sent as a JSON document, anything else, or with --text, as it stands.
    """
    node.attach("alice")

    qrsocket("send", "alice", *words)

    assert [payload] == node.messages()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["", "hi"], "a user id must not be empty"),
        (["--topic", "room 7", "hi"], "1 to 200 visible ASCII characters"),
        (["alice", "x" * 300_000], "over the limit of 262144"),
    ],
    ids=["no id", "no topic", "too large"],
)
def test_send_refused(redis_server: EmbeddedRedis, words: list[str], expected: str) -> None:
    """
    What cannot be sent ends with exit code 1 and one line that says why.
    """
    result = qrsocket("send", *words)

    assert 1 == result.exit_code
    assert expected in one_line(result.stderr)


@pytest.mark.parametrize("words", [["send", "alice", "hi"], ["online"]], ids=["send", "online"])
def test_redis_down(configure: Configure, words: list[str]) -> None:
    """
    Without Redis both end with exit code 1 and one line, which does not hold the password.
    """
    # Each asks a Redis of its own: one that has just failed is not asked again.
    configure(redis_url=f"redis://:{SECRET}@127.0.0.1:1/{len(words)}", redis_timeout=50 * MS)

    result = qrsocket(*words)

    assert 1 == result.exit_code
    assert "Redis did not take it" in one_line(result.stderr)
    assert "redis://***@127.0.0.1:1/" in result.stderr
    assert SECRET not in result.output


def test_version() -> None:
    """
    The version is said.
    """
    result = qrsocket("--version")

    assert (0, f"qrsocket {version('qrsocket')}\n") == (result.exit_code, result.stdout)


# online


def test_online_lists_everyone(node: Node, second_node: Node) -> None:
    """
    Without users, everyone who is online is listed once, sorted, one id a line where there is no terminal.
    """
    node.attach("carol")
    node.attach("alice")
    second_node.attach("alice")

    assert "alice\ncarol\n" == qrsocket("online").stdout


def test_online_of_users(node: Node) -> None:
    """
    With users, those of them who are online are listed.
    """
    node.attach("alice")
    node.attach("carol")

    assert "carol\n" == qrsocket("online", "bob", "carol").stdout


def test_online_as_json(node: Node) -> None:
    """
    With --json it is a JSON list, also when nobody is online.
    """
    before = qrsocket("online", "--json").stdout
    node.attach("[red]")

    assert [] == json.loads(before)
    assert ["[red]"] == json.loads(qrsocket("online", "--json").stdout)


def test_online_on_a_terminal() -> None:
    """
    On a terminal it is a table that shows who of those asked for is offline, ids as they are.
    """
    text = StringIO()
    console = Console(file=text, force_terminal=True, color_system=None, width=80)

    print_online(console, ["[red]", "bob"], ["[red]"])

    assert ["[red]", "online"] == row_of("[red]", text.getvalue())
    assert ["bob", "offline"] == row_of("bob", text.getvalue())


def row_of(id: str, table: str) -> list[str]:
    return next(line for line in table.splitlines() if id in line).replace("│", " ").split()


# doctor


def test_doctor_finds_nothing_wrong(node: Node, redis: redis_py.Redis) -> None:
    """
    Where a node answers, every hop has its mark and the exit code is 0.
    """
    with answering(node, redis):
        result = qrsocket("doctor")

    assert 0 == result.exit_code
    assert ["✓"] * 8 == [line[0] for line in result.stdout.splitlines()]
    assert "✓ web node n1: it answers in" in result.stdout


def test_doctor_says_what_a_server_does_not_give(node: Node, redis: redis_py.Redis) -> None:
    """
    A node whose server lends it no transport says so when it is asked; that is a warning, with what to do.
    """
    with answering(node, redis, "this server lends no transport. Start it with `qrsocket serve`"):
        result = qrsocket("doctor")

    assert 0 == result.exit_code
    assert "! web node n1: this server lends no transport\n  → Start it with `qrsocket serve`" in result.stdout


def test_doctor_leaves_nothing_behind(redis: redis_py.Redis) -> None:
    """
    What the doctor tries in Redis it takes away.
    """
    qrsocket("doctor")

    assert [] == redis.keys("*")


def test_doctor_without_nodes(redis_server: EmbeddedRedis) -> None:
    """
    No node at all is a warning that says how to start one.
    """
    result = qrsocket("doctor")

    assert 0 == result.exit_code
    assert "! web nodes: Redis knows of none" in result.stdout
    assert "qrsocket serve MODULE:APP" in result.stdout


def test_doctor_finds_a_dead_node(node: Node, second_node: Node, redis: redis_py.Redis) -> None:
    """
    A node that nobody listens for any more is told from one that answers.
    """
    node.hang_up()

    with answering(second_node, redis):
        result = qrsocket("doctor")

    assert 1 == result.exit_code
    assert "✗ web node n1: it does not listen on its channel" in result.stdout
    assert "✓ web node n2: it answers" in result.stdout


def test_doctor_finds_a_blocked_node(node: Node) -> None:
    """
    A node that gets the probe and is silent has a blocked event loop.
    """
    result = qrsocket("doctor")

    assert 1 == result.exit_code
    assert f"✗ web node n1: Redis sends to it, and it did not answer within {ANSWER_TIMEOUT:g} s" in result.stdout
    assert "event loop is blocked" in result.stdout


def test_doctor_finds_a_queue_that_nobody_consumes(configure: Configure, redis: redis_py.Redis) -> None:
    """
    Where jobs wait and no worker is, the doctor says how many, since when, and what to do. A topic is consumed by who
    consumes its pattern.
    """
    configure(shards=2)
    settings = get_settings()
    for number in range(4):
        queue = "mistyped" if number % 2 else "feed.import.csv"
        about = {"id": f"j{number}", "task": "t", "turn": 0, "attempt": 1, "delay_ms": 0, "queue": queue}
        owner = of_user(f"user-{number}")
        keys = Keyspace.of(settings).of_stream(owner)
        run(redis, Jobs(keys, settings).advance("queued", JobKey(owner, f"j{number}"), about), timeout=PATIENCE)
        redis.zincrby(keys.line(queue), -180_000, f"j{number} {owner}")
    alone = qrsocket("doctor")
    for keys in Keyspace.of(settings).shards:
        run(redis, Jobs(keys, settings).announce(["emails", "feed.#"], {}), timeout=PATIENCE)
    beside = qrsocket("doctor")

    assert "✗ queue feed.import.csv: 2 jobs wait in it, the first for 3 min, and no worker consumes it" in alone.stdout
    assert "No worker runs that uses qrsocket" in alone.stdout
    assert "✓ queues: workers consume emails, feed.#" in beside.stdout
    assert "feed.import.csv" not in beside.stdout
    assert "✗ queue mistyped: 2 jobs wait in it, the first for 3 min, and no worker consumes it" in beside.stdout
    assert "celery -A MODULE worker -Q mistyped" in " ".join(beside.stdout.split())
    assert 1 == beside.exit_code


def test_a_worker_says_its_queues_once_it_has_reached_its_broker(redis_server: EmbeddedRedis) -> None:
    """
    A worker that still looks for its broker consumes nothing, and the doctor does not say that it does.
    """
    worker = Celery("worker", broker="memory://")
    install(worker)

    instance = SimpleNamespace(app=worker, hostname="w@here", pool_cls="prefork", concurrency=2)
    signals.celeryd_after_setup.send("w@here", instance=instance, conf=worker.conf)
    before = qrsocket("doctor").stdout
    announce(instance)  # in a thread, once it is ready
    after = qrsocket("doctor").stdout

    assert "workers consume" not in before
    assert "✓ queues: workers consume celery" in after


def test_doctor_tries_every_shard(configure: Configure, new_node: NewNode, redis: redis_py.Redis) -> None:
    """
    A node that listens for one of two shards only is not well.
    """
    configure(shards=2)
    node = new_node("n1", shard=1)

    with answering(node, redis):
        result = qrsocket("doctor")

    assert "✗ web node n1: it does not listen on its channel" in result.stdout


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda client: client.config_set("maxmemory-policy", "allkeys-lru"), "✗ memory: maxmemory-policy is allkeys"),
        (lambda client: client.config_set("maxmemory", "1"), "✗ scripts: Redis is full"),
        (lambda client: client.replicaof("127.0.0.1", "1"), "✗ scripts: this server is a read-only replica"),
        (
            lambda client: client.execute_command("ACL", "SETUSER", "default", "resetchannels"),
            "✗ pub/sub: Redis does not permit it",
        ),
        (
            lambda client: client.execute_command("ACL", "SETUSER", "default", "-@scripting"),
            "✗ scripts: Redis does not permit it",
        ),
        (lambda client: client.config_set("requirepass", SECRET), "✗ connection: Redis refuses the user name or the p"),
    ],
    ids=["eviction", "full", "replica", "no channels", "no scripts", "password"],
)
def test_doctor_names_the_hop(own_redis: redis_py.Redis, harm: Callable[[redis_py.Redis], Any], expected: str) -> None:
    """
    What Redis refuses is named, with what to do next, and ends with exit code 1.
    """
    harm(own_redis)

    result = qrsocket("doctor")

    assert 1 == result.exit_code
    assert expected in result.stdout
    assert result.stdout.partition(expected)[2].partition("\n")[2].startswith("  → ")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"redis://:{SECRET}@127.0.0.1:1/0", "nothing listens there"),
        (f"redis://:{SECRET}@nowhere.invalid:6379/0", "the name of the host is not known"),
        (f"redis://:{SECRET}/x@127.0.0.1:6379/0", "QRSOCKET_REDIS_URL is wrong: has a port that is no number"),
        (f"http://:{SECRET}@127.0.0.1/", "QRSOCKET_REDIS_URL is wrong"),
        (f"redis://:57#{SECRET}@127.0.0.1/", "QRSOCKET_REDIS_URL is wrong: has a #"),
    ],
    ids=["refused", "unknown host", "misshapen", "another scheme", "a fragment"],
)
def test_doctor_cannot_connect(configure: Configure, url: str, expected: str) -> None:
    """
    The doctor stops at a connection that fails, says why, and never shows the password.
    """
    configure(redis_url=url)

    result = qrsocket("doctor")

    assert 1 == result.exit_code
    assert expected in result.stdout
    assert 1 == result.stdout.count("✗")
    assert SECRET not in result.output


def test_doctor_meets_another_program(configure: Configure) -> None:
    """
    The doctor says that what answers is not Redis.
    """
    with another_program() as port:
        configure(redis_url=f"redis://127.0.0.1:{port}", redis_timeout=PATIENCE)
        result = qrsocket("doctor")

    assert 1 == result.exit_code
    assert "what answers there is not Redis" in result.stdout


@pytest.mark.parametrize("words", [["send", "alice", "hi"], ["online"], ["doctor"]], ids=lambda words: words[0])
def test_wrong_settings_are_named(redis_server: EmbeddedRedis, configure: Configure, words: list[str]) -> None:
    """
    Each command names every setting that is wrong, by its variable, and no other.
    """
    configure(allowed_origins="a.example", lease="soon")

    result = qrsocket(*words)

    assert 1 == result.exit_code
    assert "QRSOCKET_ALLOWED_ORIGINS is wrong: 'a.example' has no scheme: write https://a.example" in result.output
    assert "QRSOCKET_LEASE is wrong: Input should be a valid number" in result.output
    assert "REDIS_URL" not in result.output


def test_doctor_finds_a_misspelt_name(node: Node, configure: Configure, redis: redis_py.Redis) -> None:
    """
    A variable that is no setting is a warning.
    """
    configure(leese=1)

    with answering(node, redis):
        result = qrsocket("doctor")

    assert 0 == result.exit_code
    assert "! settings: QRSOCKET_LEESE is no setting: QRSOCKET_LEASE may be meant\n" in result.stdout


def test_doctor_finds_a_frozen_redis(own_server: EmbeddedRedis, configure: Configure) -> None:
    """
    A Redis that takes the connection and says nothing is not waited for.
    """
    configure(redis_timeout=100 * MS)
    own_server.process.send_signal(signal.SIGSTOP)

    result = qrsocket("doctor")
    own_server.process.send_signal(signal.SIGCONT)

    assert 1 == result.exit_code
    assert "✗ connection: it does not answer in time" in result.stdout


# the command itself


@pytest.mark.parametrize("command", ["dev", "send", "online", "doctor"])
def test_help_teaches(command: str) -> None:
    """
    The help of each command has examples that can be copied.
    """
    text = qrsocket(command, "--help").stdout

    assert "Examples" in text
    assert f"qrsocket {command}" in text.split("Examples")[1]


@pytest.mark.parametrize("package", ["typer", "rich", "watchfiles"])
def test_without_the_extra(package: str) -> None:
    """
    Installed without its extra, the command says what to install.
    """
    code = f"import sys; sys.modules[{package!r}] = None; from qrsocket.cli import main; main()"

    result = subprocess.run([sys.executable, "-c", code, "dev", "a:b"], capture_output=True, text=True, check=False)

    assert 1 == result.returncode
    assert "pip install 'qrsocket[cli]'" in one_line(result.stderr)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        (f"rediss://me:{SECRET}@host:6379/0?x={SECRET}", "rediss://***@host:6379/0"),
        (f"unix://:{SECRET}@/run/redis.sock?db=1", "unix://***@/run/redis.sock"),
        (f"redis://:a/{SECRET}@host:6379/0", "redis://***"),
        (f"redis://me:12?{SECRET}@host:6379/0", "redis://***"),
        (f"redis://me:12#{SECRET}@host:6379/0", "redis://***"),
        (f"redis://[:{SECRET}", "redis://***"),
    ],
)
def test_address_is_shown_without_secrets(url: str, expected: str) -> None:
    """
    What may be a part of a password is not shown, also where a character that was not encoded has cut it in two.
    """
    assert expected == shown(url)


def test_address_of_a_socket_file_for_celery(tmp_path: Path) -> None:
    """
    Celery reaches the same database through the same socket file.
    """
    path = tmp_path / "redis.sock"
    with embedded_redis("--unixsocket", str(path)):
        run(
            clients.blocking(Settings(redis_url=SecretStr(f"unix://{path}?db=3"))),
            Call(("SET", "here", 1), bytes),
            timeout=1,
        )

        with Connection(for_celery(f"unix://{path}?db=3")) as connection:
            channel: Any = connection.default_channel

            assert b"1" == channel.client.get("here")


def test_address_with_tls_for_celery() -> None:
    """
    Celery, which wants the check of certificates said, takes the address.
    """
    url = for_celery("rediss://localhost:6379/0")
    backend: Any = Celery(backend=url).backend  # raises where it is not said

    assert "localhost" == backend.connparams["host"]
    assert url == for_celery(url)
