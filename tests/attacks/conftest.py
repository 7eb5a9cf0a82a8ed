"""One node for each module of attacks: what one attack leaves behind, the next one finds."""

from collections.abc import Iterator

import pytest

from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from tests.attacks.node import Node, attacked
from tests.attacks.witness import Witness
from tests.conftest import MS

# Short, so that the tests are quick. Compression is on: it is off by default, and can be attacked.
HEAD_TIMEOUT = 300 * MS
ENVIRONMENT = {
    "QRSOCKET_HEAD_TIMEOUT": str(HEAD_TIMEOUT),
    "QRSOCKET_HANDSHAKE_TIMEOUT": "0.5",
    "QRSOCKET_AUTH_DEADLINE": "1",
    "QRSOCKET_MAX_STRANGERS_PER_NODE": "3",
    "QRSOCKET_PING_INTERVAL": "1",
    "QRSOCKET_PING_TIMEOUT": "1",
    "QRSOCKET_COMPRESSION": "true",
}


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    """A Redis that is not emptied before each test: the node would have to begin anew."""
    with embedded_redis() as server:
        yield server


@pytest.fixture(scope="module")
def node(server: EmbeddedRedis) -> Iterator[Node]:
    with attacked(env=ENVIRONMENT | {"QRSOCKET_REDIS_URL": server.url}) as node:
        yield node


@pytest.fixture
def bob(node: Node) -> Iterator[Witness]:
    """Another user, who notices nothing."""
    with Witness(node.address) as witness:
        yield witness
