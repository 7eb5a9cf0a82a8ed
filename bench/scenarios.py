"""What is measured of a contender, of new processes each time: CPU, which a shared machine distorts the least."""

import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import quantiles

from bench.contenders import Contender
from bench.load import Connection, Load
from bench.node import Node, environment, run_node, stopwatch
from bench.publisher import TOPIC, Publisher, Target, run_publisher
from qrsocket.embedded_redis import embedded_redis

IN_TOPIC = f"&topic={TOPIC}"
WARM_UP = [str(user) for user in range(1_000_000, 1_000_020)]

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Sizes:
    """
    How much is measured.

    Attributes:
        idle: Connections whose memory is measured.
        some: Users that one send names.
        members: Connections in the topic.
        waiting: Messages that wait in Redis while the node is frozen.
        sends: Sends, one after the other, whose cost is measured.
        paced: Sends, one each millisecond.
    """

    users: int = 2_000
    idle: int = 1_000
    some: int = 100
    members: int = 1_000
    broadcasts: int = 60
    waiting: int = 20
    backlogs: int = 5
    sends: int = 2_000
    paced: int = 3_000


@dataclass(frozen=True, slots=True)
class Stage:
    """A contender's node, its sender and its clients, with a Redis of their own."""

    contender: Contender
    env: dict[str, str]
    redis_pid: int
    node: Node
    load: Load
    publisher: Publisher

    async def deliver(self, targets: Sequence[Target], members: Sequence[str] = ()) -> None:
        """Send to each target once the one before has all that was sent."""
        for target in targets:
            async with self.load.receiving(members if target is None else target):
                await self.publisher.send([target])

    async def deliver_backlog(self, targets: Sequence[Target], members: Sequence[str] = ()) -> None:
        """Send to all targets while the node is frozen, so that it finds them waiting."""
        async with self.load.receiving([user for target in targets for user in target or members]):
            self.node.freeze()
            await self.publisher.send(targets)
            self.node.thaw()


@asynccontextmanager
async def stage(contender: Contender, kind: type[Connection] = Connection) -> AsyncIterator[Stage]:
    with embedded_redis("--client-output-buffer-limit", "pubsub 0 0 0") as redis:
        env = environment(redis.url)
        async with (
            run_node(contender.command, env, contender.ready) as node,
            run_publisher(contender.python, contender.sender, env) as publisher,
        ):
            load = Load(contender.dialect, kind)
            yield Stage(contender, env, redis.process.pid, node, load, publisher)
            load.close()


async def measure(contender: Contender, sizes: Sizes) -> Figures:
    """Measure everything once."""
    async with stage(contender) as here:
        await warm_up(here)
        figures = await connections(here, sizes)
        figures |= await users(here, sizes)
        figures |= await sends(here, sizes)
        figures |= await two_nodes(here, sizes)
    async with stage(contender) as here:
        await warm_up(here)
        return figures | await topic(here, sizes)


async def warm_up(here: Stage) -> None:
    await here.load.open(here.node.port, WARM_UP, IN_TOPIC)
    await here.deliver([None, *([user] for user in WARM_UP)], WARM_UP)
    here.load.close()
    await here.node.settled()


async def connections(here: Stage, sizes: Sizes) -> Figures:
    """Open connections of as many users, who are authenticated and, if the contender knows presence, online."""
    rss, spent = here.node.rss_kib(), stopwatch(here.node.pid)
    await here.load.open(here.node.port, _names(sizes.idle))
    await here.node.settled()
    figures = {"handshake": spent() / sizes.idle, "idle_kib": (here.node.rss_kib() - rss) / sizes.idle}
    await here.load.open(here.node.port, _names(sizes.users)[sizes.idle :])
    await here.node.settled()
    return figures


async def users(here: Stage, sizes: Sizes) -> Figures:
    """Send to one user after the other, and to some users at once."""
    names = _names(sizes.users)
    each: list[Target] = [[user] for user in names]
    spent = stopwatch(here.node.pid)
    await here.deliver(each)
    figures = {"unicast": spent() / sizes.users}

    spent = stopwatch(here.node.pid)
    for start in range(0, sizes.users, sizes.some):
        await here.deliver_backlog(each[start : start + sizes.some])
    figures["unicast_waiting"] = spent() / sizes.users

    hundreds: list[Target] = [names[start : start + sizes.some] for start in range(0, sizes.users, sizes.some)]
    spent = stopwatch(here.node.pid)
    await here.deliver(hundreds * sizes.backlogs)
    return figures | {"some": spent() / (sizes.users * sizes.backlogs)}


async def sends(here: Stage, sizes: Sizes) -> Figures:
    """Send as fast as one process can, and then paced."""
    names = _names(sizes.users)
    to = list(islice(cycle(names), sizes.sends))
    spent = stopwatch(here.redis_pid)
    async with here.load.receiving(to):
        cost = await here.publisher.send([[user] for user in to])
    figures = {"redis_user": spent() / sizes.sends, "send_wall": cost.wall_us, "send_cpu": cost.cpu_us}

    gc.collect()
    gc.freeze()  # a collection of the clients here would be taken for a delay of the node
    to, here.load.delays_ms = list(islice(cycle(names), sizes.paced)), []
    async with here.load.receiving(to):
        await here.publisher.send([[user] for user in to], every=0.001)
    percentiles = quantiles(here.load.delays_ms, n=100)
    here.load.delays_ms = None
    gc.unfreeze()
    return figures | {"p50_ms": percentiles[49], "p99_ms": percentiles[98]}


async def two_nodes(here: Stage, sizes: Sizes) -> Figures:
    """Send to users who have a connection to each of two nodes."""
    names = _names(sizes.some)
    async with run_node(here.contender.command, here.env, here.contender.ready) as second:
        await here.load.open(second.port, names)
        await second.settled()
        to = list(islice(cycle(names), sizes.sends))
        spent = stopwatch(here.redis_pid)
        async with here.load.receiving(to):
            await here.publisher.send([[user] for user in to])
        figures = {"redis_two_nodes": spent() / sizes.sends}
        here.load.close()
    return figures


async def topic(here: Stage, sizes: Sizes) -> Figures:
    """Send to a topic that everybody has joined: one message at a time, then several that wait."""
    names = _names(sizes.members)
    await here.load.open(here.node.port, names, IN_TOPIC)
    await here.node.settled()
    spent = stopwatch(here.node.pid)
    await here.deliver([None] * sizes.broadcasts, names)
    figures = {"broadcast": spent() / (sizes.broadcasts * sizes.members)}

    spent = stopwatch(here.node.pid)
    for _ in range(sizes.backlogs):
        await here.deliver_backlog([None] * sizes.waiting, names)
    figures["broadcast_waiting"] = spent() / (sizes.backlogs * sizes.waiting * sizes.members)

    here.node.freeze()
    here.load.close()  # the node does not see it
    spent = stopwatch(here.redis_pid)
    await here.publisher.send([None] * sizes.sends)
    return figures | {"redis_topic": spent() / sizes.sends}


def _names(number: int) -> list[str]:
    return [str(user) for user in range(number)]
