"""Under plain `uvicorn main:app`, what is sent on an open WebSocket of ours has our limits all the same."""

from collections.abc import Iterator

import pytest

from qrsocket.embedded_redis import EmbeddedRedis
from tests.attacks.attacks import FRAMES, Attack
from tests.attacks.conftest import ENVIRONMENT
from tests.attacks.node import Node, attacked
from tests.attacks.witness import Witness


@pytest.fixture(scope="module")
def node(server: EmbeddedRedis) -> Iterator[Node]:
    with attacked(env=ENVIRONMENT | {"QRSOCKET_REDIS_URL": server.url}, is_ours=False) as node:
        yield node


@pytest.mark.parametrize("attack", FRAMES, ids=lambda attack: attack.name)
def test_an_attack(node: Node, bob: Witness, attack: Attack) -> None:
    """
    It is answered as under our classes.
    """
    assert attack.answer == attack.run(node.address)
