"""What all tools share: short times of presence, and where the shop's processes find Redis and the broker."""

import pytest

from qrsocket.embedded_redis import EmbeddedRedis
from tests.conftest import MS, Configure


@pytest.fixture
def env(redis_server: EmbeddedRedis, configure: Configure) -> dict[str, str]:
    """Settings go to the processes by the environment that they inherit; this is what comes on top."""
    configure(renew_interval=100 * MS, offline_grace=200 * MS)
    return {"SHOP_BROKER": redis_server.url.removesuffix("/0") + "/1"}
