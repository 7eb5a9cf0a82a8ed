"""The accounts of docs/security.md, as they stand there, and what each may and may not do."""

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis as redis_py
from redis.exceptions import ResponseError
from typer.testing import CliRunner

from qrsocket import Unavailable, socket
from qrsocket.cli.app import app
from qrsocket.embedded_redis import embedded_redis
from qrsocket.keys import Keyspace
from qrsocket.settings import Settings
from qrsocket.sync import socket as blocking
from qrsocket.testing import Client, client
from tests.clients import PATIENCE
from tests.conftest import Configure
from tests.running import ROOT, web_node, worker

PAGE = (ROOT / "docs/security.md").read_text()
ACCOUNTS = next(block for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL) if "user default off" in block)
ADMIN = "user admin on >ADMIN-PASSWORD ~* &* +@all\n"
KEYS = Keyspace.of(Settings(redis_url="redis://unused")).shards[0]  # type: ignore[arg-type]

# As Redis, and Valkey, say it; also of what a script does.
REFUSED = r"(?i)no permission|can't|ACL failure"


@dataclass
class Guarded:
    """
    A server with the accounts.

    Attributes:
        admin: A client that may do anything.
    """

    port: int
    admin: redis_py.Redis

    def url(self, account: str, db: int = 0) -> str:
        return f"redis://{account}:{account.upper()}-PASSWORD@127.0.0.1:{self.port}/{db}"

    def refusals(self) -> list[str]:
        """What was refused, in words."""
        log: Any = self.admin.execute_command("ACL", "LOG")
        flat = [entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=True)) for entry in log]
        texts = [{_text(name): _text(value) for name, value in entry.items()} for entry in flat]
        return [f"{one['username']} {one['reason']} {one['object']} {one['client-info'][-200:]}" for one in texts]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    file = tmp_path / "accounts.acl"
    file.write_text(ACCOUNTS + ADMIN)
    with embedded_redis("--aclfile", str(file)) as server:
        url = f"redis://admin:ADMIN-PASSWORD@127.0.0.1:{server.port}/0"
        with redis_py.Redis.from_url(url, socket_timeout=PATIENCE) as admin:
            yield Guarded(server.port, admin)


async def test_each_does_its_work(guarded: Guarded, configure: Configure) -> None:
    """
    A node, a worker, a publisher and the doctor do all that is theirs, and Redis refuses them nothing.
    """
    configure(redis_url=guarded.url("publisher"), lease=3, renew_interval=0.1, offline_grace=0.1)
    broker = guarded.url("celery", 1)
    of_web = {"QRSOCKET_REDIS_URL": guarded.url("web"), "GUARDED_BROKER": broker}
    of_worker = {"QRSOCKET_REDIS_URL": guarded.url("worker"), "GUARDED_BROKER": broker}
    with (
        web_node(app="tests.processes.guarded:app", env=of_web) as node,
        worker(app="tests.processes.guarded:jobs", env=of_worker),
    ):
        async with client(node.url, query={"user": "alice"}, timeout=PATIENCE) as alice:
            assert "hello alice" == await alice.receives()
            room = await alice.join("room:tea")
            await _publish(alice, room)
            await _work(node.url, alice, room)
        configure(redis_url=guarded.url("web"))
        asked = [
            await asyncio.to_thread(CliRunner().invoke, app, [command]) for command in ("doctor", "status", "jobs")
        ]

    assert [0, 0, 0] == [one.exit_code for one in asked], [one.output for one in asked]
    assert [] == guarded.refusals()


async def _publish(alice: Client, room: Any) -> None:
    assert await socket.to("alice").send("from a publisher")
    assert "from a publisher" == await alice.receives()
    await asyncio.to_thread(blocking.topic("room:tea").send, "to a room", message_id="once")
    assert (await socket.topic("room:tea").send("to a room", message_id="once")).repeated
    assert "to a room" == await room.receives()
    assert await socket.is_online("alice")
    assert 1 == await socket.topic("room:tea").count()
    await socket.everyone.send("to everyone")
    assert "to everyone" == await alice.receives()


async def _work(url: str, alice: Client, room: Any) -> None:
    async with httpx2.AsyncClient(timeout=PATIENCE) as http:
        words = {"words": ["to", "be"]}
        asked = await http.post(f"{url}/socket/count", params={"user": "alice"}, json=words)
        assert 202 == asked.status_code, asked.text
        assert 2 == (await alice.job_ends(asked.json()["id"], timeout=PATIENCE)).result
        assert 200 == (await http.get(f"{url}/socket/jobs", params={"user": "alice"})).status_code
    assert {"counted": 2} == await alice.receives()
    assert {"asked": [True, ["alice"], 1]} == await alice.receives()
    assert "counted" == await room.receives()


async def test_a_publisher_goes_on_counting(guarded: Guarded, configure: Configure) -> None:
    """
    Offsets go on after the newest message that is kept, also when the clock is behind it, though a publisher may not
    read that message.
    """
    configure(redis_url=guarded.url("publisher"))
    history, ahead = KEYS.history("u:alice"), 9_000_000_000_000
    guarded.admin.xadd(history, {"k": "j", "p": "1"}, id=f"{ahead}-0")
    for number in (2, 3):
        await socket.to("alice").send(number)

    entries: Any = guarded.admin.xrange(history)
    assert [(f"{ahead + n}-0".encode(), b"%d" % (n + 1)) for n in range(3)] == [(id, its[b"p"]) for id, its in entries]
    assert [] == guarded.refusals()


FORBIDDEN: dict[str, Callable[[redis_py.Redis], Any]] = {
    "a user's messages": lambda redis: redis.xrange(KEYS.history("u:alice")),
    "in a script": lambda redis: redis.eval(
        "return redis.call('XRANGE', KEYS[1], '-', '+')", 1, KEYS.history("u:alice")
    ),
    "in a script, undeclared": lambda redis: redis.eval(
        f"return redis.call('XRANGE', '{KEYS.history('u:alice')}', '-', '+')", 0
    ),
    "the newest message": lambda redis: redis.xrevrange(KEYS.history("u:alice"), count=1),
    "as a group": lambda redis: redis.xgroup_create(KEYS.history("u:alice"), "me", id="0"),
    "about the stream": lambda redis: redis.xinfo_stream(KEYS.history("u:alice")),
    "as they come": lambda redis: redis.execute_command("SUBSCRIBE", KEYS.channel("web-1")),
    "by a pattern": lambda redis: redis.execute_command("PSUBSCRIBE", "*"),
    "as monitor": lambda redis: redis.execute_command("MONITOR"),
    "a copy": lambda redis: redis.copy(KEYS.history("u:alice"), KEYS.sent("x")),
    "a dump": lambda redis: redis.dump(KEYS.history("u:alice")),
    "all keys": lambda redis: redis.keys("*"),
    "all keys, step by step": lambda redis: redis.scan(),
    "members": lambda redis: redis.smembers(KEYS.members("room:tea")),
    "jobs": lambda redis: redis.hgetall(KEYS.record("u:alice", "1")),
    "what a job writes": lambda redis: redis.xrange(KEYS.chunks("u:alice", "1")),
    "who is revoked": lambda redis: redis.get(KEYS.revoked("u:alice")),
    "another application": lambda redis: redis.get("qrsocket:other:{q0}:sent:x"),
    "the broker": lambda redis: redis.lrange("celery", 0, -1),
    "the configuration": lambda redis: redis.config_get("*"),
    "the accounts": lambda redis: redis.acl_list(),
    "an end of all": lambda redis: redis.flushall(),
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server that has something of everything."""
    file = tmp_path_factory.mktemp("acl") / "accounts.acl"
    file.write_text(ACCOUNTS + ADMIN)
    with (
        embedded_redis("--aclfile", str(file)) as server,
        redis_py.Redis(port=server.port, username="admin", password="ADMIN-PASSWORD") as admin,
    ):
        admin.xadd(KEYS.history("u:alice"), {"k": "j", "p": "secret"})
        admin.xadd(KEYS.chunks("u:alice", "1"), {"t": "secret"})
        admin.sadd(KEYS.members("room:tea"), "alice")
        admin.hset(KEYS.record("u:alice", "1"), "result", "secret")
        admin.set("qrsocket:other:{q0}:sent:x", "secret")
        admin.rpush("celery", "secret")
        yield Guarded(server.port, admin)


@pytest.mark.parametrize("ask", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_what_a_publisher_may_not(filled: Guarded, ask: Callable[[redis_py.Redis], Any]) -> None:
    """
    Who only sends reads no message, no member, no job, and nothing of others: not in a script either.
    """
    with (
        redis_py.Redis.from_url(filled.url("publisher"), socket_timeout=PATIENCE) as publisher,
        pytest.raises(ResponseError, match=REFUSED),
    ):
        ask(publisher)


@pytest.mark.parametrize(
    "name", ["a user's messages", "in a script", "as they come", "all keys", "another application"]
)
def test_what_a_worker_may_not(filled: Guarded, name: str) -> None:
    """
    Nor does a worker read messages.
    """
    with (
        redis_py.Redis.from_url(filled.url("worker"), socket_timeout=PATIENCE) as a_worker,
        pytest.raises(ResponseError, match=REFUSED),
    ):
        FORBIDDEN[name](a_worker)


async def test_a_publisher_is_told_what_it_lacks(guarded: Guarded, configure: Configure) -> None:
    """
    What an account may not do is raised at once, with the cause.
    """
    configure(redis_url=guarded.url("publisher"))
    with pytest.raises(Unavailable, match="Redis does not permit it"):
        await socket.to("alice").revoke()


def test_the_page_names_each_account() -> None:
    """
    Each account of the lines is in the table below them.
    """
    accounts = re.findall(r"^user (\w+) on ", ACCOUNTS, re.MULTILINE)

    assert ["web", "worker", "publisher", "celery"] == accounts == re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert "QRSOCKET_SHARDS" not in os.environ
