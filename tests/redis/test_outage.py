"""When Redis is gone, frozen or back: an error in time or a message, and never the answer to another question."""

import asyncio
import socket as blocking_socket
from contextlib import ExitStack, closing
from typing import Any

import pytest
import redis as redis_py

from qrsocket import Unavailable, socket
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from tests.clients import PATIENCE
from tests.conftest import MS, Configure, until
from tests.redis.conftest import Act, Node
from tests.redis.outages import SLACK, TIMEOUT, another_program, between, frozen, kill


def send(socket: Any) -> Any:
    return socket.to("alice").send("hi")


def ask(socket: Any) -> Any:
    return socket.online(["alice"])


async def connected(act: Act) -> None:
    await act(ask)


async def not_connected(_act: Act) -> None:
    """The pool is opened by what is tested."""


CASES = [(connected, send), (connected, ask), (not_connected, send)]


@pytest.mark.parametrize(("before", "use"), CASES)
async def test_a_stopped_redis(
    act: Act, own_server: EmbeddedRedis, configure: Configure, before: Any, use: Any
) -> None:
    """
    With Redis' process gone a verb raises Unavailable within the timeout, whether it was connected before or not.
    """
    configure(redis_timeout=TIMEOUT)
    await before(act)
    kill(own_server)

    async with asyncio.timeout(TIMEOUT + SLACK):
        with pytest.raises(Unavailable, match=rf"within {TIMEOUT:g} s \((ConnectionError|no answer)\)"):
            await act(use)


@pytest.mark.parametrize(("before", "use"), CASES)
async def test_a_frozen_redis(act: Act, own_server: EmbeddedRedis, configure: Configure, before: Any, use: Any) -> None:
    """
    With Redis frozen a verb raises Unavailable within the timeout, though the kernel takes what is sent.
    """
    configure(redis_timeout=TIMEOUT)
    await before(act)

    with frozen(own_server):
        async with asyncio.timeout(TIMEOUT + SLACK):
            with pytest.raises(Unavailable, match=rf"within {TIMEOUT:g} s \(no answer\)"):
                await act(use)


async def test_another_program_at_the_port_of_redis(
    act: Act, redis_server: EmbeddedRedis, configure: Configure
) -> None:
    """
    What answers with something else than Redis' protocol is a Redis that cannot be reached.
    """
    with another_program() as port:
        configure(redis_timeout=TIMEOUT, redis_url=f"redis://127.0.0.1:{port}")
        async with asyncio.timeout(TIMEOUT + SLACK):
            with pytest.raises(Unavailable, match=rf"within {TIMEOUT:g} s"):
                await act(send)


async def test_a_host_that_does_not_answer(act: Act, redis_server: EmbeddedRedis, configure: Configure) -> None:
    """
    Where not even a connection comes about, as behind a firewall, Unavailable is raised within the timeout.
    """
    with closing(blocking_socket.socket()) as deaf, ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)  # the kernel lets one wait to be accepted, and leaves all others without an answer
        for _ in range(4):
            client = waiting.enter_context(closing(blocking_socket.socket()))
            client.setblocking(False)
            client.connect_ex(deaf.getsockname())
        configure(redis_url=f"redis://127.0.0.1:{deaf.getsockname()[1]}/0", redis_timeout=TIMEOUT)

        async with asyncio.timeout(TIMEOUT + SLACK):
            with pytest.raises(Unavailable, match=rf"within {TIMEOUT:g} s \(no answer\)"):
                await act(send)
        configure(redis_timeout=20 * SLACK)
        async with asyncio.timeout(SLACK):
            with pytest.raises(Unavailable, match=rf"within {100 * MS:g} s \(no answer\)"):
                await act(lambda socket: socket.to("alice").send("hi", wait=100 * MS))


async def test_after_a_freeze_each_answer_is_its_own(
    act: Act, own_server: EmbeddedRedis, own_redis: redis_py.Redis, configure: Configure
) -> None:
    """
    The late answer to a call that was given up is not taken for the answer to the next.
    """
    configure(redis_timeout=TIMEOUT)
    node = Node(own_redis, "n1")
    for number in range(1, 6):
        node.attach(number, number)
    await act(lambda socket: socket.to(1).send("opens the pool"))

    with frozen(own_server), pytest.raises(Unavailable):
        await act(lambda socket: socket.to(5).send("late"))
    connections = [
        (await act(lambda socket, n=n: socket.to(n).send("hi", wait=PATIENCE))).connections  # type: ignore[misc]
        for n in range(1, 6)
    ]

    assert [1, 2, 3, 4, 5] == connections
    node.hang_up()


async def test_a_cancelled_send_leaves_no_answer_behind(
    own_server: EmbeddedRedis, own_redis: redis_py.Redis, configure: Configure
) -> None:
    """
    A request that is cancelled while it waits for Redis does not hand its answer to the next request.
    """
    node = Node(own_redis, "n1")
    for number in range(1, 6):
        node.attach(number, number)
    await socket.to("nobody").send("Redis has the script")
    all_asked, go_on = asyncio.Barrier(6), asyncio.Event()

    async def hold(_answer: bytes) -> bool:
        if not go_on.is_set():
            await all_asked.wait()
            await go_on.wait()
        return True

    async with between(own_server.port, hold) as port:
        configure(redis_url=f"redis://127.0.0.1:{port}/0", redis_timeout=PATIENCE)
        pending = [asyncio.create_task(socket.to(number).send("late")) for number in range(1, 6)]
        await all_asked.wait()
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        go_on.set()
        connections = [(await socket.to(number).send("hi")).connections for number in range(1, 6)]

    assert [True] * 5 == [task.cancelled() for task in pending]
    assert [1, 2, 3, 4, 5] == connections
    assert {b"late", b"hi"} == set(node.messages())
    node.hang_up()


async def test_send_right_after_a_restart(act: Act, configure: Configure) -> None:
    """
    A pooled connection to a server that is gone is no error: the send goes to the server that is there now.
    """
    with embedded_redis() as first:
        configure(redis_url=first.url)
        await asyncio.gather(*(act(lambda socket: socket.to("alice").send("opens the pool")) for _ in range(5)))

    with embedded_redis(port=first.port), redis_py.Redis(port=first.port) as client:
        node = Node(client, "n1")
        node.attach("alice")
        delivery = await act(lambda socket: socket.to("alice").send("hi"))

        assert (1, [b"hi"]) == (delivery.connections, node.messages())
        node.hang_up()


async def test_send_while_redis_restarts(act: Act, configure: Configure) -> None:
    """
    A send that finds no server is tried again until one is there, within the timeout.
    """
    with embedded_redis() as first:
        configure(redis_url=first.url, redis_timeout=PATIENCE)
        await act(send)
    attempts = asyncio.Semaphore(0)

    def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.release()
        writer.close()

    refusing = await asyncio.start_server(refuse, "127.0.0.1", first.port)
    async with refusing:
        sending = asyncio.create_task(act(send))
        for _ in range(3):
            await attempts.acquire()
    with embedded_redis(port=first.port):
        delivery = await sending

    assert 0 == delivery.connections


async def test_a_lost_answer_is_asked_for_again(
    act: Act, own_server: EmbeddedRedis, own_redis: redis_py.Redis, configure: Configure
) -> None:
    """
    When the connection breaks after Redis has published, the retry gets the same answer, and the message went once.
    """
    node = Node(own_redis, "n1")
    node.attach("alice", 3)
    await act(lambda socket: socket.to("nobody").send("Redis has the script"))
    lost: list[bytes] = []

    async def lose_the_first(answer: bytes) -> bool:
        lost.append(answer)
        return len(lost) > 1

    async with between(own_server.port, lose_the_first) as port:
        configure(redis_url=f"redis://127.0.0.1:{port}/0", redis_timeout=PATIENCE)
        delivery = await act(send)

    assert 2 == len(lost), lost
    assert (3, [b"hi"]) == (delivery.connections, node.messages())
    node.hang_up()


async def test_an_outage_shows_no_password(act: Act, configure: Configure) -> None:
    """
    Neither the text of Unavailable nor its causes hold the password.
    """
    with embedded_redis() as server:
        port = server.port
    configure(redis_url=f"redis://user:canary@127.0.0.1:{port}/0", redis_timeout=TIMEOUT)

    with pytest.raises(Unavailable) as raised:
        await act(lambda socket: socket.to("alice").send("hi"))

    error: BaseException | None = raised.value
    while error is not None:
        assert "canary" not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("before", [connected, not_connected])
async def test_a_short_wait(act: Act, own_server: EmbeddedRedis, configure: Configure, before: Any) -> None:
    """
    A send that is to wait less than the timeout does, also where a connection must be opened first.
    """
    configure(redis_timeout=20 * SLACK)
    await before(act)

    with frozen(own_server):
        async with asyncio.timeout(SLACK):
            for _ in range(2):
                with pytest.raises(Unavailable, match=rf"within {100 * MS:g} s \(no answer\)"):
                    await act(lambda socket: socket.to("alice").send("hi", wait=100 * MS))


async def test_a_long_wait_leaves_a_deaf_connection(
    act: Act, own_server: EmbeddedRedis, own_redis: redis_py.Redis, configure: Configure
) -> None:
    """
    A send that is to wait longer than the timeout tries another connection after that, and the message arrives once.
    """
    node = Node(own_redis, "n1")
    node.attach("alice", 3)
    await act(lambda socket: socket.to("nobody").send("Redis has the script"))
    answers: list[bytes] = []

    async def keep_the_first(answer: bytes) -> bool:
        answers.append(answer)
        if len(answers) == 1:
            await asyncio.Event().wait()
        return True

    async with between(own_server.port, keep_the_first) as port:
        configure(redis_url=f"redis://127.0.0.1:{port}/0", redis_timeout=TIMEOUT)
        delivery = await act(lambda socket: socket.to("alice").send("hi", wait=PATIENCE))

    assert 2 == len(answers)
    assert (3, [b"hi"]) == (delivery.connections, node.messages())
    node.hang_up()


async def test_a_wait_outlasts_a_full_redis(act: Act, own_server: EmbeddedRedis, own_redis: redis_py.Redis) -> None:
    """
    Redis that takes no messages is asked again for as long as the send is to wait; without a wait it is told at once.
    """
    own_redis.config_set("maxmemory", 1)
    with pytest.raises(Unavailable, match="OOM"):
        await act(send)
    own_redis.config_resetstat()
    sending = asyncio.create_task(act(lambda socket: socket.to("alice").send("hi", wait=PATIENCE)))
    await until(lambda: own_redis.info("errorstats"))
    own_redis.config_set("maxmemory", 0)

    assert 0 == (await sending).connections


@pytest.mark.parametrize(
    "use", [lambda socket: socket.to(range(10_000)).send("hi"), lambda socket: socket.online(range(10_000))]
)
async def test_one_timeout_for_all_batches(act: Act, own_server: EmbeddedRedis, configure: Configure, use: Any) -> None:
    """
    What goes to Redis in ten calls has the time of one: a Redis that is slow to answer each does not add up.
    """

    async def answer_late(_answer: bytes) -> bool:
        await asyncio.sleep(TIMEOUT / 4)
        return True

    async with between(own_server.port, answer_late) as port:
        configure(redis_url=f"redis://127.0.0.1:{port}/0", redis_timeout=TIMEOUT)
        with pytest.raises(Unavailable, match=rf"within {TIMEOUT:g} s"):
            await act(use)


async def test_more_sends_than_may_be_under_way(
    own_server: EmbeddedRedis, own_redis: redis_py.Redis, configure: Configure
) -> None:
    """
    Of more than 1 000 sends at once the others wait for their turn, and are Unavailable when none comes in time. That
    says nothing of Redis: the next ones are tried as well.
    """
    configure(redis_timeout=PATIENCE)
    node = Node(own_redis, "n1")
    node.attach("alice")
    with frozen(own_server):
        sending = [asyncio.create_task(socket.to("alice").send(number)) for number in range(1_001)]
        await asyncio.sleep(0)  # they begin
        configure(redis_timeout=100 * MS)
        for _ in range(2):
            with pytest.raises(Unavailable, match=rf"within {100 * MS:g} s \(1000 other calls are running\)"):
                await socket.to("alice").send("in vain")
    deliveries = await asyncio.gather(*sending)

    assert [1] * 1_001 == [delivery.connections for delivery in deliveries]
    assert sorted(str(number).encode() for number in range(1_001)) == sorted(node.messages())
    node.hang_up()


async def test_a_cancelled_send_gives_its_turn_back(
    own_server: EmbeddedRedis, own_redis: redis_py.Redis, configure: Configure
) -> None:
    """
    Sends that are cancelled, under way or waiting for their turn, leave room for as many others.
    """
    configure(redis_timeout=PATIENCE)
    with frozen(own_server):
        sending = [asyncio.create_task(send(socket)) for _ in range(1_500)]
        await asyncio.sleep(0)  # they begin
        with pytest.raises(Unavailable, match="other calls are running"):
            await socket.to("alice").send("in vain", wait=100 * MS)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        with pytest.raises(Unavailable, match="no answer"):
            await socket.to("alice").send("no answer", wait=100 * MS)
    deliveries = await asyncio.gather(*(send(socket) for _ in range(1_000)))

    assert 1_000 == len(deliveries)


@pytest.mark.parametrize(
    ("user", "path", "rules", "cause"),
    [
        (":wrong@", "/0", "", "Redis refuses the user name or the password"),
        ("bob:right@", "/0", "-eval -evalsha", "Redis does not permit it"),
        ("bob:right@", "/0", "-xadd -exists", "Redis does not permit it"),
        ("bob:right@", "/0", "resetkeys", "Redis does not permit it"),
        ("bob:right@", "/99", "", "Redis has no such database"),
    ],
    ids=["password", "scripts", "in scripts", "keys", "database"],
)
async def test_what_redis_refuses_for_good(
    act: Act,
    own_server: EmbeddedRedis,
    own_redis: redis_py.Redis,
    configure: Configure,
    user: str,
    path: str,
    rules: str,
    cause: str,
) -> None:
    """
    What no time will mend raises Unavailable with the cause at once, each time, and however long the verb would wait.
    """
    own_redis.execute_command("ACL", "SETUSER", "default", ">right", "resetpass", ">right")
    own_redis.execute_command("ACL", "SETUSER", "bob", "on", ">right", "~*", "&*", "+@all", *rules.split())
    configure(redis_url=f"redis://{user}127.0.0.1:{own_server.port}{path}", redis_timeout=20 * SLACK)

    async with asyncio.timeout(SLACK):
        for use in (send, ask, lambda socket: socket.to("alice").send("hi", wait=20 * SLACK)):
            with pytest.raises(Unavailable, match=cause):
                await act(use)
