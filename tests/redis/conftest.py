"""Nodes as Redis sees them, both colours of the verbs, and servers that a test may kill, freeze, fill or roll back."""

import asyncio
import random
import shutil
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import redis as redis_py

import qrsocket
from qrsocket import sync
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from qrsocket.fanout.publish import Envelope
from qrsocket.keys import Keys, Keyspace
from qrsocket.position import Position
from qrsocket.presence import answers, table
from qrsocket.presence.answers import Answer, Count, Known, Transition
from qrsocket.roundtrip import Call, run
from qrsocket.settings import get_settings
from qrsocket.streams import Stream, of_user
from tests.clients import PATIENCE
from tests.conftest import MS, Configure
from tests.redis.attaching import Attached, attach

T = TypeVar("T")

LEASE = 60.0  # long: it ends in a test only where `Node.end_lease` ends it
GRACE = 50 * MS


class Act(Protocol):
    """Use a verb: `await act(lambda socket: socket.send("hi"))`."""

    async def __call__(self, use: Callable[[Any], Any]) -> Any: ...


class NewNode(Protocol):
    def __call__(self, name: str, *, shard: int = 0) -> "Node": ...


class Node:
    """
    A web node, played by blocking code: it is subscribed, has joined, and reads the envelopes that reach it.

    Attributes:
        epoch: The one in which it joined.
    """

    def __init__(
        self, client: redis_py.Redis, name: str, *, shard: int = 0, lease: float = LEASE, epoch: str = ""
    ) -> None:
        """
        Args:
            epoch: The one in which it was a node under another name.
        """
        self.name, self.keys = name, Keyspace.of(get_settings()).shards[shard]
        self._client = client
        self._subscription = client.pubsub(ignore_subscribe_messages=True)
        self._subscription.subscribe(self.keys.channel(name))
        self._subscription.get_message(timeout=PATIENCE)  # the answer to SUBSCRIBE
        self.epoch = self._run(table.join(self.keys, name, lease=lease, epoch=epoch))

    def attach(self, user: object, count: int = 1, **options: Any) -> Attached:
        return self.attach_stream(of_user(str(user)), count, **options)

    def attach_stream(
        self,
        stream: Stream,
        count: int = 1,
        *,
        grace: float = GRACE,
        known: Known = answers.UNKNOWN,
        since: Position | None = None,
        tell: bool = True,
    ) -> Attached:
        """
        Args:
            tell: The transition that comes of it has been told when this returns. Otherwise it is open, until `tell`.
        """
        attached = self._run(
            attach(self.keys, self.name, stream, count, limit=100, grace=grace, known=known, since=since)
        )
        if tell and attached.transition:
            self.tell(attached.transition)
        return attached

    def attach_all(
        self,
        streams: Iterable[Stream],
        here: int = 1,
        *,
        most: int = 0,
        since: Sequence[tuple[Stream, Position]] = (),
        grace: float = GRACE,
    ) -> Answer:
        """Say, in one call, that this node has *here* subscriptions of each of *streams*."""
        counts = [Count(stream, here, most) for stream in streams]
        answer = self._run(table.attach(self.keys, self.name, counts, since, grace=grace))
        assert answer is not None, f"{self.name} was fenced"
        return answer

    def tell(self, transition: Transition | None) -> Transition | None:
        """Acknowledge that *transition* was told here, and return the one that this node is to tell next."""
        assert transition is not None, "there is no transition to tell"
        return self._run(table.acknowledge(self.keys, self.name, transition, grace=GRACE))

    def renew(self) -> answers.Renewed | None:
        return self._run(table.renew(self.keys, self.name, lease=LEASE, grace=GRACE))

    def reap(self, *, grace: float = 0) -> list[Transition]:
        """Reap until there is nothing more to do, and return the transitions that came of it, still to be told."""
        transitions: list[Transition] = []
        more = True
        while more:
            reaped = self._run(table.reap(self.keys, self.name, grace=grace))
            transitions += reaped.transitions
            more = reaped.more
        return transitions

    def end_lease(self) -> None:
        """Let the lease end: the last renewal was for 1 ms."""
        self._run(table.renew(self.keys, self.name, lease=1 * MS, grace=GRACE))
        while not has_ended(self._client, self.keys, self.name):
            pass

    def envelopes(self) -> list[Envelope]:
        """Return what has arrived, heartbeats aside: all that was published before this call."""
        self._client.publish(self.keys.channel(self.name), b"the end")
        envelopes = []
        while (data := self._next()) != b"the end":
            envelopes.append(Envelope.parse(data))
        return [envelope for envelope in envelopes if envelope.message.kind != "h"]

    def messages(self) -> list[bytes]:
        return [envelope.message.payload for envelope in self.envelopes()]

    def hang_up(self) -> None:
        """Stop listening, as a killed process does."""
        self._subscription.close()
        while self._client.pubsub_numsub(self.keys.channel(self.name))[0][1]:
            pass

    def _next(self) -> bytes:
        message = self._subscription.get_message(timeout=PATIENCE)
        assert message is not None, f"nothing arrived at {self.name} within {PATIENCE:g} s"
        data: bytes = message["data"]
        return data

    def _run(self, call: Call[T]) -> T:
        return run(self._client, call, timeout=PATIENCE)


def has_ended(client: redis_py.Redis, keys: Keys, node: str) -> bool:
    """Tell whether the lease of *node* is over by Redis' clock."""
    ends = client.zscore(keys.nodes, node)
    return ends is not None and ends <= now_ms(client)


def now_ms(client: redis_py.Redis) -> int:
    """Redis' clock, as scripts see it."""
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def pass_time(client: redis_py.Redis, keys: Keys, seconds: float) -> None:
    """Make it *seconds* later: what Redis remembers of leases, graces and renewals is that much longer ago."""
    ms = round(seconds * 1000)
    for times in (keys.nodes, keys.reaping, keys.grace):
        for member, at in client.zrange(times, 0, -1, withscores=True):
            client.zadd(times, {member: at - ms})
    for field in ("beat", "quiet_until"):
        if client.hexists(keys.server, field):
            client.hincrby(keys.server, field, -ms)


class MortalRedis:
    """A server of one test that is killed and comes back at the same address, each time as another process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._lives, self._port = folder, 0, _lasting_port()
        self._running = ExitStack()
        self._server = self._start("--appendonly", "yes", "--appendfsync", "always")
        self.url = self._server.url
        self.client = redis_py.Redis.from_url(self.url)

    def keep_dump(self) -> None:
        """Remember everything as it is now, for `roll_back`."""
        self.client.save()
        shutil.copy(self._here / "dump.rdb", self._folder / "kept.rdb")

    def restart(self) -> None:
        """Kill it, and start it again from its append-only file, which has everything."""
        self._kill()
        shutil.copytree(self._here, self._next)
        self._server = self._start("--appendonly", "yes", "--appendfsync", "always")

    def roll_back(self) -> None:
        """Kill it, and start it with what was there at `keep_dump`."""
        self._kill()
        self._next.mkdir()
        shutil.copy(self._folder / "kept.rdb", self._next / "dump.rdb")
        self._server = self._start()

    def wipe(self) -> None:
        """Kill it, and start it empty."""
        self._kill()
        self._server = self._start()

    def close(self) -> None:
        self.client.close()
        self._running.close()

    @property
    def _here(self) -> Path:
        return self._folder / str(self._lives)

    @property
    def _next(self) -> Path:
        return self._folder / str(self._lives + 1)

    def _start(self, *options: str) -> EmbeddedRedis:
        self._lives += 1
        self._here.mkdir(exist_ok=True)
        running = embedded_redis("--dir", str(self._here), *options, port=self._port)
        return self._running.enter_context(running)

    def _kill(self) -> None:
        self._server.process.kill()
        self._server.process.wait()
        self.client.connection_pool.disconnect()


def _lasting_port() -> int:
    """Return a port that stays free while its server is down: the kernel gives none below 32768 to others."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@pytest.fixture
def mortal_redis(tmp_path: Path, configure: Configure) -> Iterator[MortalRedis]:
    """A server of this test alone, that all verbs use, and that may be killed and come back."""
    server = MortalRedis(tmp_path / "redis")
    configure(redis_url=server.url)
    yield server
    server.close()


@pytest.fixture
def keys(redis_server: EmbeddedRedis) -> Keys:
    """The keys of the only shard."""
    return Keyspace.of(get_settings()).shards[0]


@pytest.fixture
def new_node(redis: redis_py.Redis) -> Iterator[NewNode]:
    """Makes nodes, which hang up when the test ends."""
    nodes: list[Node] = []

    def new(name: str, *, shard: int = 0) -> Node:
        nodes.append(Node(redis, name, shard=shard))
        return nodes[-1]

    yield new
    for node in nodes:
        node.hang_up()


@pytest.fixture
def node(new_node: NewNode) -> Node:
    """A node named "n1" that has joined."""
    return new_node("n1")


@pytest.fixture
def second_node(new_node: NewNode) -> Node:
    return new_node("n2")


@pytest.fixture(params=["sync", "async"])
def act(request: pytest.FixtureRequest, redis_server: EmbeddedRedis) -> Act:
    """Uses `qrsocket.sync.socket` in a thread, or awaits `qrsocket.socket`. A test that uses it runs once with each."""

    async def send(use: Callable[[Any], Any]) -> Any:
        if request.param == "sync":
            return await asyncio.to_thread(use, sync.socket)
        pending: Awaitable[Any] = use(qrsocket.socket)
        return await pending

    return send


@contextmanager
def no_command_reaches(client: redis_py.Redis) -> Iterator[None]:
    """Check by Redis' own count that it is asked for nothing while the block runs."""
    client.config_resetstat()
    yield
    asked = client.info("commandstats")
    assert {"cmdstat_config|resetstat"} == set(asked), f"Redis was asked for {sorted(asked)}"
