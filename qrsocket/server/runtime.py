"""One web node: its name, its connections, its relay, its keeper and its hooks, from start to stop."""

import asyncio
import math
import socket
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

from qrsocket.context import Context, Here
from qrsocket.errors import CloseCode, Unavailable
from qrsocket.fanout.subscriber import Subscriber
from qrsocket.keys import Keyspace
from qrsocket.logger import Logger
from qrsocket.presence.answers import Transition
from qrsocket.presence.calls import call_redis
from qrsocket.presence.keeper import Keeper
from qrsocket.presence.table import live_nodes
from qrsocket.server.catch_up import CatchUp
from qrsocket.server.draining import drain
from qrsocket.server.figures import Teller
from qrsocket.server.finding import what_is_lost
from qrsocket.server.hooks import Hooks
from qrsocket.server.hub import Hub
from qrsocket.server.limits import max_connections
from qrsocket.server.listings import Listings
from qrsocket.server.outbox import Outbox
from qrsocket.server.parsing import Parsing
from qrsocket.server.probed import answer
from qrsocket.server.reaper import reap_jobs
from qrsocket.server.relay import Relay
from qrsocket.server.slots import Slots, most_strangers
from qrsocket.server.subscription import Subscription
from qrsocket.server.trailing import Trailing
from qrsocket.settings import Settings, get_settings
from qrsocket.streams import Stream, of_members
from qrsocket.trouble import Trouble

logger = Logger(__name__)

# Hooks that run when the node stops may end, within this; containers are usually killed after 10 s.
STOP_TIMEOUT = 3.0
# Thousands may join a topic at one time: what each of its members is told of that waits this long after the last word.
MEMBERS_INTERVAL = 0.25


class Node:
    """
    A process that serves sockets.

    Attributes:
        hub: Its open connections.
        outbox: What waits to be written to them.
        keeper: Their subscriptions in Redis, and the transitions of users that this node is to tell.
        trouble: What keeps it from Redis.
        max_connections: It takes so many.
        sessions: How many there are, from the handshake to the close: not all are registered with Redis yet.
        is_draining: It lets its clients go, and takes no new ones.
        slots: How many are taken from one address, and from strangers.
        parsing: Where large documents of clients are parsed.
        listings: Where lists of jobs are read.
        lost: What the server does not give us; None if all is well.
    """

    def __init__(self, given: Settings | None, app: Any = None) -> None:
        """
        Args:
            given: The settings that the application was given; None: the environment's.
        """
        self.given, self.settings = given, given or get_settings()
        settings = self.settings
        self.hooks = Hooks(settings.hook_timeout, app, given)
        self._have_members_changed = asyncio.Event()
        self.outbox = Outbox()
        self.hub = Hub(self._on_behind, self._on_stale, self._have_members_changed.set)
        self.trouble = Trouble("sockets stay open")
        self.keeper = Keeper(
            settings,
            lambda: self.hub.streams,
            self.hub.count,
            self.hub.proof,
            self.hub.put_out,
            self._on_transition,
            self.hub.attached,
            self.trouble,
            Teller(self.hub, self.outbox, lambda: self._catch_up.behind, lambda: self.keeper.canary.lag).tell,
        )
        self.max_connections = max_connections(settings)
        self.sessions, self.lost = 0, what_is_lost()
        self.is_draining = False
        self.slots = Slots(
            most_strangers=most_strangers(settings.max_strangers_per_node, self.max_connections),
            most_per_address=settings.max_connections_per_address,
        )
        self.parsing, self.listings = Parsing(), Listings(settings)
        self._catch_up = CatchUp(
            settings, self.hub, self.listings, self.keeper.wait_joined, self.keeper.joined_in, self.trouble
        )
        self._living: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._keyspace = Keyspace.of(settings)
        self._subscriber: Subscriber | None = None
        self._background = asyncio.TaskGroup()

    @property
    def is_ready(self) -> bool:
        """Whether a message to a connection that is opened now would arrive."""
        return self._is_heard and not self.is_draining and not self.keeper.canary.is_deaf

    @property
    def cause(self) -> str:
        """Why it is not ready, in words that may be shown to anybody."""
        if self.is_draining:
            return "the node stops"
        return self.trouble.cause or ("what Redis publishes does not arrive" if self.keeper.canary.is_deaf else "")

    @property
    def _is_heard(self) -> bool:
        is_subscribed = self._subscriber is not None and self._subscriber.is_open.is_set()
        return is_subscribed and self.keeper.is_live

    @property
    def is_full(self) -> bool:
        return self.sessions >= self.max_connections

    def context(self, user: str | None, connection: str | None, here: Here | None = None) -> Context:
        """Return for whom, and by which settings, a handler of the application runs."""
        return Context(user, connection, here=here, settings=self.given)

    async def run(self) -> None:
        """Serve until stopped. If a part dies, all sockets are closed: clients reconnect, to another node."""
        try:
            async with self._background as background:
                self._living = background.create_task(self._live(), name="node")
        finally:
            self.hub.close_all(CloseCode.RESTART, "the node stops")

    def let_clients_go(self, seconds: float, together: int, then: Callable[[], None]) -> None:
        """Take no new clients, close those that are here, and then call *then*. See `LetGo`."""
        self.is_draining = self.keeper.is_stopping = True
        if self.start(self._drain(seconds, together, then), "drain") is None:
            then()

    async def stop(self) -> None:
        """Leave, once the hooks that run here have ended: another node would run them again."""
        was_heard = self._is_heard
        self.keeper.is_stopping = True
        if self._telling:
            await asyncio.wait(self._telling, timeout=min(self.settings.hook_timeout, STOP_TIMEOUT))
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait({self._living})
        if was_heard:
            try:
                await self.keeper.leave()
            except Unavailable:
                logger.warning("lease not released: other nodes wait until it ends", node=self.keeper.node)

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._catch_up.run(), name="catch up")
            group.create_task(reap_jobs(self.settings, self.trouble), name="jobs")
            group.create_task(self._tell_members(), name="members")
            if self.settings.trail_seconds:
                group.create_task(Trailing(self.settings, lambda: self.keeper.node).run(), name="trail")
            while True:
                await self._live_as(f"{self.settings.node_name or socket.gethostname()}.{uuid4().hex[:8]}")

    async def _live_as(self, name: str) -> None:
        """Serve under *name* until it is fenced. It listens first: once it has joined, others send to it."""
        channels = [keys.channel(name) for keys in self._keyspace.shards]
        self._subscriber = Subscriber(self.settings, name, channels, self.trouble)
        relay = Relay(
            name,
            self.hub,
            self.outbox,
            self.settings.ring,
            self._on_probe,
            self.keeper.canary.heard,
            self._catch_up.suspect,
        )
        async with asyncio.TaskGroup() as group:
            relaying = group.create_task(relay.run(self._subscriber), name="relay")
            await self._subscriber.is_open.wait()
            await self.keeper.live(name)
            logger.warning("node fenced: joining again under a new name", node=name)
            relaying.cancel()

    async def read_members(self, topic: str) -> None:
        """Learn who has joined *topic*, the first connection of this node to join it being under way."""
        await self._catch_up.read_members(of_members(topic))

    async def _tell_members(self) -> None:
        """Tell who has joined topics and left them: at once, and then what has come together since."""
        while True:
            await self._have_members_changed.wait()
            self._have_members_changed.clear()
            self.hub.states.tell_members()
            await asyncio.sleep(MEMBERS_INTERVAL)

    async def _drain(self, seconds: float, together: int, then: Callable[[], None]) -> None:
        try:
            if seconds and await self._count_nodes() <= together:
                seconds = 0  # nobody could take them: the sooner it is back, the better
            logger.info("draining: %d connections over %g s", len(self.hub), seconds, node=self.keeper.node)
            await drain(self.hub, seconds, self.settings.offline_grace)
        finally:
            then()

    async def _count_nodes(self) -> float:
        try:
            nodes = await call_redis(self.settings, live_nodes(self._keyspace.shards[0]))
        except Unavailable:
            return math.inf  # as if there were others
        return len(nodes)

    def _on_behind(self, subscription: Subscription) -> None:
        self.start(self._catch_up.catch_up(subscription), f"catch up {subscription.connection.id}")

    def _on_stale(self, stream: Stream) -> None:
        self.start(self._catch_up.reread(stream), f"reread {stream}")

    def _on_transition(self, transition: Transition) -> None:
        if task := self.start(self._tell(transition), f"tell {transition.id}"):
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, transition: Transition) -> None:
        if await self.hooks.run(transition, self.keeper.mailbox.begin):
            self.keeper.mailbox.told(transition)
        await self.keeper.acknowledge(transition)

    def _on_probe(self, probe_id: str) -> None:
        self.start(answer(self.settings, self.keeper.node, self.lost or "", probe_id), "probe")

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None] | None:
        """Run *coroutine* beside the connections; it ends with the node."""
        try:
            return self._background.create_task(coroutine, name=name)
        except RuntimeError:  # a connection that ends after the node has
            coroutine.close()
            logger.warning("task not started, the node has ended: %s", name, node=self.keeper.node)
            return None
