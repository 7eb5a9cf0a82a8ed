"""A Redis that failed a moment ago is not waited for again: what that decides, and what it spares whom."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis as redis_py

from qrsocket import Unavailable, clients, events, socket, sync
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from qrsocket.events import CircuitChanged
from qrsocket.keys import Keyspace
from qrsocket.presence import table
from qrsocket.roundtrip import arun
from qrsocket.sender import circuit
from qrsocket.sender.circuit import PAUSE, Circuit, NotTried
from qrsocket.settings import get_settings
from tests.clients import PATIENCE
from tests.conftest import MS, Configure
from tests.redis.conftest import Act, Node
from tests.redis.outages import TIMEOUT, frozen, kill

NOW = 1_000.0
USUAL = 2.0


def is_admitted(circuit: Circuit, now: float) -> bool:
    try:
        circuit.admit(now, timeout=USUAL)
    except NotTried:
        return False
    return True


def failed(now: float = NOW) -> Circuit:
    circuit = Circuit()
    circuit.failed(now, began=now - USUAL)
    return circuit


def test_all_pass_while_redis_answers() -> None:
    """
    A new circuit lets calls through, and so does one whose last call was answered.
    """
    circuit = Circuit()
    fresh = is_admitted(circuit, NOW)
    circuit.answered(NOW)

    assert [True] * 3 == [fresh, is_admitted(circuit, NOW), is_admitted(circuit, NOW + 1e6)]


def test_observers_are_told() -> None:
    """
    That it opens and that it closes, once each.
    """
    seen: list[object] = []
    with events.observed(SimpleNamespace(on_event=seen.append)):
        circuit = failed()
        circuit.failed(NOW + 2, began=NOW)
        circuit.answered(NOW + 4)
        circuit.answered(NOW + 5)

    assert [CircuitChanged(is_open=True), CircuitChanged(is_open=False)] == seen


def test_none_passes_after_a_failure() -> None:
    """
    For a second nothing is tried, and the error says since when Redis fails and what to do.
    """
    circuit = failed()

    assert PAUSE == 1.0
    with pytest.raises(Unavailable, match=r"^not tried: Redis failed 0\.4 s ago; `qrsocket doctor` says where"):
        circuit.admit(NOW + 0.4, timeout=USUAL)
    assert not is_admitted(circuit, NOW + PAUSE - 1 * MS)


def test_one_at_a_time_looks_again() -> None:
    """
    After a second one call is let through, and no other until it has ended.
    """
    circuit = failed()
    after = NOW + PAUSE

    assert [True, False, False] == [is_admitted(circuit, after + late) for late in (0, 0, USUAL - 1 * MS)]


def test_a_probe_that_fails() -> None:
    """
    Then there is another second without, from the end of the probe.
    """
    circuit = failed()
    circuit.admit(NOW + PAUSE, timeout=USUAL)
    end = NOW + PAUSE + USUAL
    circuit.failed(end, began=NOW + PAUSE)

    assert [False, True] == [is_admitted(circuit, end + PAUSE - 1 * MS), is_admitted(circuit, end + PAUSE)]


def test_a_probe_that_is_answered() -> None:
    """
    Then all pass.
    """
    circuit = failed()
    circuit.admit(NOW + PAUSE, timeout=USUAL)
    circuit.answered(NOW + PAUSE + 1 * MS)

    assert [True, True] == [is_admitted(circuit, NOW + PAUSE + 1 * MS) for _ in range(2)]


def test_a_probe_that_is_cancelled() -> None:
    """
    It tells nothing. When it would have ended, another one is let through.
    """
    circuit = failed()
    circuit.admit(NOW + PAUSE, timeout=USUAL)

    assert [True, False] == [is_admitted(circuit, NOW + PAUSE + USUAL) for _ in range(2)]


def test_a_connection_that_fails_alone() -> None:
    """
    When Redis has answered another call since this one began, it was not Redis that failed.
    """
    circuit = Circuit()
    circuit.answered(NOW)
    circuit.failed(NOW + 1.0, began=NOW - 1.0)
    alone = is_admitted(circuit, NOW + 1.0)
    circuit.failed(NOW + 1.0, began=NOW)

    assert [True, False] == [alone, is_admitted(circuit, NOW + 1.0)]


@pytest.mark.parametrize("comparison", [1, 2], ids=["before the lock", "in the lock"])
def test_threads_share_one_probe(comparison: int) -> None:
    """
    Of two threads that find a probe due at the same moment, one makes it; no wait for the other.
    """
    circuit = failed()
    admitted: list[bool] = []

    class Overtaken(float):
        """A time at whose n-th comparison another thread comes between."""

        compared = 0

        def __ge__(self, other: float) -> bool:
            Overtaken.compared += 1
            is_due = float(self) >= other
            if Overtaken.compared == comparison:
                admitted.append(is_admitted(circuit, NOW + PAUSE))
            return is_due

    admitted.append(is_admitted(circuit, Overtaken(NOW + PAUSE)))

    assert [False, True] == sorted(admitted)


def send(socket: Any) -> Any:
    return socket.to("alice").send("hi")


VERBS: list[Callable[[Any], Any]] = [
    send,
    lambda socket: socket.to("alice").close(),
    lambda socket: socket.is_online("alice"),
    lambda socket: socket.online(),
]


@pytest.mark.parametrize("use", VERBS, ids=["send", "close", "is_online", "online"])
async def test_verbs_fail_at_once_after_a_failure(
    act: Act, own_server: EmbeddedRedis, configure: Configure, use: Any
) -> None:
    """
    Once a verb has failed, others raise without a try, in both colours, though a server is there now.
    """
    configure(redis_timeout=TIMEOUT)
    with frozen(own_server), pytest.raises(Unavailable, match="no answer"):
        await act(use)

    for other in VERBS:
        with pytest.raises(Unavailable, match=r"^not tried: Redis failed \d\.\d s ago"):
            await other(socket)
        with pytest.raises(Unavailable, match="not tried"):
            await asyncio.to_thread(other, sync.socket)


async def test_a_server_that_is_gone(act: Act, own_server: EmbeddedRedis, configure: Configure) -> None:
    """
    A refused connection is a failure as silence is.
    """
    configure(redis_timeout=TIMEOUT)
    kill(own_server)

    for cause in ("ConnectionError", "not tried"):
        with pytest.raises(Unavailable, match=cause):
            await act(send)


async def test_a_wait_is_never_cut_short(
    act: Act, own_server: EmbeddedRedis, own_redis: redis_py.Redis, configure: Configure
) -> None:
    """
    A send that says how long to wait is tried though Redis has just failed; when it arrives, all others pass again.
    """
    configure(redis_timeout=TIMEOUT)
    node = Node(own_redis, "n1")
    node.attach("alice")
    with frozen(own_server):
        with pytest.raises(Unavailable, match="no answer"):
            await act(send)
        with pytest.raises(Unavailable, match=rf"within {100 * MS:g} s \(no answer\)"):
            await act(lambda socket: socket.to("alice").send("hi", wait=100 * MS))
    with pytest.raises(Unavailable, match="not tried"):
        await act(send)

    waited = await act(lambda socket: socket.to("alice").send("hi", wait=PATIENCE))
    others = [await send(socket), await asyncio.to_thread(send, sync.socket)]

    assert [1, 1, 1] == [delivery.connections for delivery in (waited, *others)]
    node.hang_up()


async def test_a_short_wait_says_nothing_to_others(act: Act, own_server: EmbeddedRedis, configure: Configure) -> None:
    """
    That Redis did not answer in less time than usual stops nobody who has more; in more time than usual, it does.
    """
    configure(redis_timeout=PATIENCE)
    await act(send)
    with frozen(own_server), pytest.raises(Unavailable, match="no answer"):
        await act(lambda socket: socket.to("alice").send("hi", wait=100 * MS))
    after_short = await act(send)

    configure(redis_timeout=TIMEOUT)
    with frozen(own_server), pytest.raises(Unavailable, match="no answer"):
        await act(lambda socket: socket.to("alice").send("hi", wait=1.2 * TIMEOUT))
    with pytest.raises(Unavailable, match="not tried"):
        await act(send)

    assert 0 == after_short.connections


async def test_the_first_after_a_pause_looks_again(
    act: Act, own_server: EmbeddedRedis, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    When the pause is over, a verb is tried, and if it is answered so are all others.
    """
    configure(redis_timeout=TIMEOUT)
    monkeypatch.setattr(circuit, "PAUSE", 0.0)
    with frozen(own_server), pytest.raises(Unavailable, match="no answer"):
        await act(send)

    assert [0, 0] == [(await act(send)).connections for _ in range(2)]


async def test_a_full_redis_is_there(act: Act, own_server: EmbeddedRedis, own_redis: redis_py.Redis) -> None:
    """
    Redis that refuses a message has answered: each call is told what it says, and questions are answered.
    """
    own_redis.config_set("maxmemory", 1)

    for _ in range(2):
        with pytest.raises(Unavailable, match="OOM"):
            await act(send)
    assert not await act(lambda socket: socket.is_online("alice"))


async def test_a_wrong_password_is_no_outage(act: Act, configure: Configure) -> None:
    """
    It is told each time, since no time will mend it.
    """
    with embedded_redis("--requirepass", "right") as server:
        configure(redis_url=f"redis://:wrong@127.0.0.1:{server.port}/0")

        for _ in range(2):
            with pytest.raises(Unavailable, match="refuses the user name or the password"):
                await act(send)


async def test_another_redis_is_another_matter(act: Act, own_server: EmbeddedRedis, configure: Configure) -> None:
    """
    What one server failed to do says nothing of another.
    """
    configure(redis_timeout=TIMEOUT)
    kill(own_server)
    with pytest.raises(Unavailable):
        await act(send)

    with embedded_redis() as other:
        configure(redis_url=other.url)
        delivery = await act(send)

    assert 0 == delivery.connections


async def test_a_node_is_not_held_up(act: Act, own_server: EmbeddedRedis, configure: Configure) -> None:
    """
    What keeps presence asks Redis all the same, though the verbs of its process do not.
    """
    configure(redis_timeout=TIMEOUT)
    with frozen(own_server), pytest.raises(Unavailable):
        await act(send)
    with pytest.raises(Unavailable, match="not tried"):
        await act(send)
    settings = get_settings()
    call = table.live_nodes(Keyspace.of(settings).shards[0])

    assert not await arun(clients.awaiting(settings), call, timeout=PATIENCE)


FORK = """
import os, sys
from qrsocket import Unavailable
from qrsocket.sync import socket

def cause():
    try:
        socket.to("alice").send("hi")
    except Unavailable as error:
        return error.cause.partition(":")[0]

before = [cause(), cause()]
if os.fork() == 0:
    os.write(1, " ".join([*before, cause(), cause()]).encode())
    os._exit(0)
os.wait()
"""


def test_a_forked_child_looks_for_itself(configure: Configure) -> None:
    """
    A child does not inherit what its parent has last heard of Redis.
    """
    with embedded_redis() as server:
        configure(redis_url=server.url, redis_timeout=TIMEOUT)

    ended = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=3 * PATIENCE)

    assert (0, "") == (ended.returncode, ended.stderr)
    assert "ConnectionError not tried ConnectionError not tried" == ended.stdout
