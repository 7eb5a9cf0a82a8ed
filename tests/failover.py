"""A primary, its replica, and an address that leads to one of them, for tests of what happens after a failover."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import redis

from qrsocket.embedded_redis import embedded_redis
from tests.conftest import until
from tests.faults.proxy import Proxy, proxy_to


class Pair:
    """
    A primary, and a replica that takes its place.

    Attributes:
        primary, replica: A client to look into each. They change places.
        url: The address, which leads to the primary.
    """

    def __init__(self, primary: redis.Redis, replica: redis.Redis, proxy: Proxy) -> None:
        self.primary, self.replica, self._proxy = primary, replica, proxy
        self.url = f"redis://127.0.0.1:{proxy.port}/0"
        self._follow(self.replica, self.primary)

    def fail_over(self) -> None:
        """Let the two change places. The old primary keeps its connections."""
        self.primary, self.replica = self.replica, self.primary
        self.primary.execute_command("REPLICAOF", "NO", "ONE")
        self._follow(self.replica, self.primary)

    def lead(self) -> None:
        """Let the address lead to the primary."""
        self._proxy.lead_to(port_of(self.primary))

    async def in_step(self) -> None:
        """Wait until the replica follows."""
        await until(lambda: self.replica.info("replication")["master_link_status"] == "up")

    @staticmethod
    def _follow(replica: redis.Redis, primary: redis.Redis) -> None:
        replica.execute_command("REPLICAOF", "127.0.0.1", str(port_of(primary)))


def port_of(client: redis.Redis) -> int:
    port: int = client.connection_pool.connection_kwargs["port"]
    return port


@asynccontextmanager
async def a_pair() -> AsyncIterator[Pair]:
    """Run two servers until the block ends."""
    with ExitStack() as stack:
        servers = [stack.enter_context(embedded_redis("--repl-diskless-sync-delay", "0")) for _ in range(2)]
        primary, replica = (stack.enter_context(redis.Redis.from_url(server.url)) for server in servers)
        async with proxy_to(servers[0].port) as proxy:
            pair = Pair(primary, replica, proxy)
            await pair.in_step()
            yield pair
