"""All processes of a fault run: started together, stopped in reverse order, whatever happens."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.aftermath import Vitals, vitals
from tests.faults.blocking import blocking
from tests.faults.conditions import MUTATION, NODES, environment
from tests.faults.orders import Told, told
from tests.faults.proxy import Proxy, proxy_to
from tests.faults.redis_server import RedisServer, free_port
from tests.faults.services import Service
from tests.running import web_node, worker

START_TIMEOUT = 30.0
# Until connections, caches and clients are as they are in the midst of work.
WARM_UP = 2.0


@dataclass(frozen=True, slots=True)
class Stage:
    """
    Attributes:
        ports: That the nodes serve; they keep them when they come back.
        awaiting, blocking: Publishers.
    """

    redis: RedisServer
    proxies: dict[str, Proxy]
    ports: dict[str, int]
    nodes: dict[str, Service]
    worker: Service
    crowd: Told
    awaiting: Told
    blocking: Told

    @property
    def services(self) -> list[Service]:
        return [*self.nodes.values(), self.worker]

    async def vitals(self) -> dict[str, Vitals]:
        return {name: await blocking(vitals, node.process, self.ports[name]) for name, node in self.nodes.items()}


@asynccontextmanager
async def stage(folder: Path, seed: str, mutation: str) -> AsyncIterator[Stage]:
    """Start all, with everybody connected and messages under way, and stop all at the end of the block."""
    mutated = {MUTATION: mutation} if mutation else {}
    async with AsyncExitStack() as stack:
        redis = RedisServer(folder / "redis")
        stack.push_async_callback(blocking, redis.close)
        await blocking(redis.start)
        proxies = {name: await stack.enter_async_context(proxy_to(redis.port)) for name in NODES}
        ports = {name: free_port() for name in NODES}
        env = environment(folder, redis.port, **mutated)
        nodes = {}
        for name in NODES:
            of_node = environment(folder, proxies[name].port, QRSOCKET_NODE_NAME=name, **mutated)
            node = partial(web_node, ports[name], of_node, app="tests.faults.app:app", ready=None)
            nodes[name] = Service(name, node)
        jobs = Service("worker", partial(worker, env, app="tests.faults.jobs:jobs"))
        for service in (*nodes.values(), jobs):
            stack.push_async_callback(blocking, service.stop)
        async with asyncio.TaskGroup() as starting:
            for service in (*nodes.values(), jobs):
                starting.create_task(blocking(service.start))

        async def obedient(name: str, *words: str) -> Told:
            log = folder / f"{name}.log"
            return await stack.enter_async_context(told(*words, env={**os.environ, **env}, log=log))

        of_nodes = [f"{name}={port}" for name, port in ports.items()]
        crowd = await obedient("crowd", "tests.faults.crowd", seed, *of_nodes)
        late = await crowd.ask("opened", timeout=START_TIMEOUT, patience=START_TIMEOUT)
        assert not late, f"could not connect: {', '.join(late)}"
        awaiting = await obedient("awaiting", "tests.faults.publish", "awaiting", seed)
        blocked = await obedient("blocking", "tests.faults.publish", "blocking", seed)
        await asyncio.sleep(WARM_UP)
        yield Stage(redis, proxies, ports, nodes, jobs, crowd, awaiting, blocked)
