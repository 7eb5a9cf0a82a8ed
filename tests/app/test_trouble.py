"""What hostile clients, unlucky moments and an odd Redis must not do to anybody else."""

import asyncio
import logging
from traceback import walk_tb
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from redis import Redis
from websockets.exceptions import ConnectionClosed, InvalidStatus

from qrsocket import SocketError, Unavailable, User, authenticated, socket
from qrsocket.server import SocketRouter
from qrsocket.server.lifespan import running_node
from tests.app.conftest import Serve, serving
from tests.app.routers import router_of_named_users
from tests.app.speaking import VERSION_1
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure, until


async def test_a_busy_redis_is_outlived(
    own_redis: Redis, serve: Serve, open_client: Open, configure: Configure
) -> None:
    """
    While somebody's script keeps Redis busy a send raises Unavailable; the node is not ready, and is again after it.
    """
    configure(redis_timeout=500 * MS)
    address = await serve(router_of_named_users())
    alice = await open_client(address, "/socket?user=alice")
    own_redis.config_set("busy-reply-threshold", 100)
    running = asyncio.create_task(asyncio.to_thread(_run_for_a_while, own_redis))

    with pytest.raises(Unavailable, match="BUSY"):
        await _send_for_ever()
    await running

    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as http, asyncio.timeout(PATIENCE):
        while (await http.get("/socket/ready")).status_code != 200:
            await asyncio.sleep(10 * MS)
    await socket.to("alice").send("after")
    while await alice.receive_text() != "after":
        pass


async def _send_for_ever() -> None:
    while True:
        await socket.to("alice").send("hi")


def _run_for_a_while(redis: Redis) -> None:
    redis.eval(
        "local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end "
        f"local ends = now() + {800_000 * MS:.0f} while now() < ends do end",
        0,
    )


async def test_who_signs_in_too_late_is_no_ghost(serve: Serve, open_client: Open, redis: Redis) -> None:
    """
    A handler that authenticates a connection whose client has gone leaves nobody online.
    """
    router = SocketRouter("/socket")
    started, may_go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @router.on_message
    async def on_message() -> None:
        started.set()
        await may_go_on.wait()
        await authenticated("alice")
        ended.set()

    address = await serve(router)
    client = await open_client(address)
    await client.send(1)
    await started.wait()
    await client.connection.close()
    await until(lambda: not list(redis.scan_iter("*route*")))
    may_go_on.set()
    await ended.wait()

    assert not await socket.is_online("alice")
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as http:
        assert 0 == (await http.get("/socket/ready")).json()["connections"]


async def test_a_sign_in_that_times_out_is_mended(
    serve: Serve, open_client: Open, redis: Redis, configure: Configure
) -> None:
    """
    When Redis is too slow for a handler that authenticates, the user is reachable a moment later all the same.
    """
    router = SocketRouter("/socket")

    @router.on_message(timeout=100 * MS)
    async def on_message() -> None:
        await authenticated("alice")

    client = await open_client(await serve(router))
    redis.client_pause(round(400_000 * MS))
    await client.send(1)

    assert {"error": f"Timeout: no answer within {100 * MS:g} s"} == await client.receive()
    await until(lambda: redis.exists("qrsocket:app:{q0}:route:u:alice"))
    assert 1 == (await socket.to("alice").send("hi")).connections
    assert "hi" == await client.receive_text()
    await client.connection.close()
    await until(lambda: not list(redis.scan_iter("*route*")))


async def test_the_cap_holds_while_somebody_leaves(
    serve: Serve, open_client: Open, redis: Redis, configure: Configure
) -> None:
    """
    Connections that leave while many others wait for their place do not open the door to all of them.
    """
    configure(max_connections_per_user=5)
    address = await serve(router_of_named_users())
    taken = [await open_client(address, "/socket?user=alice") for _ in range(5)]

    redis.client_pause(300)
    closing = asyncio.create_task(taken[0].connection.close())
    openings = [asyncio.create_task(open_client(address, "/socket?user=alice")) for _ in range(20)]
    await closing
    clients = await asyncio.gather(*openings)

    delivery = await socket.to("alice").send("who is there?")
    assert delivery.connections <= 5
    refused = [client for client in clients if client.connection.close_code == 4103 or await _is_refused(client)]
    assert len(clients) - len(refused) + 4 == delivery.connections


async def test_the_cap_is_reached_by_those_who_come_together(
    serve: Serve, open_client: Open, configure: Configure
) -> None:
    """
    Of a user's connections that come at one time as many stay as may, and no more are refused than are too many.
    """
    configure(max_connections_per_user=5)
    address = await serve(router_of_named_users())
    clients = await asyncio.gather(*(open_client(address, "/socket?user=alice") for _ in range(8)))
    await asyncio.gather(*(client.connection.ping() for client in clients), return_exceptions=True)
    await until(lambda: sum(client.connection.close_code == 4103 for client in clients) == 3)

    assert 5 == (await socket.to("alice").send("who is there?")).connections
    assert [False] * 5 == [await _is_refused(client) for client in clients if client.connection.close_code is None]


async def _is_refused(client: Any) -> bool:
    try:
        return bool(await client.receive_text() != "who is there?")
    except ConnectionClosed:
        return bool(client.connection.close_code == 4103)


async def test_a_thousand_sends_at_once(serve: Serve, open_client: Open) -> None:
    """
    More sends at once than there are connections to Redis wait in line; none fails.
    """
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")

    deliveries = await asyncio.gather(*(socket.to("alice").send({"n": n}) for n in range(400)))

    assert [1] * 400 == [delivery.connections for delivery in deliveries]
    assert set(range(400)) == {(await alice.receive())["n"] for _ in range(400)}


async def test_a_long_list_of_errors_is_cut(serve: Serve, open_client: Open) -> None:
    """
    A message that is wrong in thousands of places is answered briefly.
    """
    router = SocketRouter("/socket")

    @router.on_message
    async def on_message(data: list[int]) -> None: ...

    client = await open_client(await serve(router))

    await client.send(["x"] * 8)
    few = (await client.receive())["error"]
    await client.send([{}] * 10_000)
    many = (await client.receive())["error"]

    assert few.startswith("0: Input should be a valid integer")
    assert few.endswith("; and 3 more")
    assert "10000 errors in the message" == many


async def test_a_validation_error_of_the_handlers_own(
    serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """
    What fails validation inside of a handler is its bug: it is logged, and not told.
    """
    router = SocketRouter("/socket")

    @router.on_message
    async def on_message() -> None:
        from pydantic import TypeAdapter

        TypeAdapter(int).validate_python("s3cret")

    client = await open_client(await serve(router))
    await client.send(1)

    assert (await client.receive())["error"].startswith("Internal error (")
    assert "handler failed" in caplog.text


async def test_what_is_logged_of_an_error_begins_in_the_application(
    serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The frames of an error that is logged are the application's and what it calls: no frame of ours before them, whose
    variables hold what a client has sent, and which trackers of errors send elsewhere.
    """
    router = SocketRouter("/socket")

    def fail() -> None:
        raise ValueError

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> None:
        if query:
            fail()

    @router.on_message
    async def on_message() -> None:
        fail()

    @router.on_message(type="binary")
    def on_binary() -> None:
        fail()

    @router.on_join("room")
    async def on_join() -> None:
        fail()

    address = await serve(router)
    with pytest.raises(InvalidStatus):
        await open_client(address, "/socket?token=sesame")
    client = await open_client(address, subprotocols=[VERSION_1])
    for frame in ("!hello\n{}", "-\n1", b"-\n1", '!join\n{"topic": "room"}'):
        await client.send_text(frame)
        await client.receive_text()

    tracebacks = [record.exc_info[2] for record in caplog.records if record.exc_info]
    frames = [[frame.f_code.co_name for frame, _ in walk_tb(traceback)] for traceback in tracebacks]
    assert [[name, "fail"] for name in ("on_connect", "on_message", "on_binary", "on_join")] == frames


async def test_an_error_text_that_is_no_utf_8(serve: Serve, open_client: Open) -> None:
    """
    Half a surrogate pair in an error's text does not break the connection.
    """
    router = SocketRouter("/socket")

    @router.on_message
    async def on_message() -> None:
        raise SocketError("bad \ud800")

    client = await open_client(await serve(router))
    for _ in range(2):
        await client.send(1)
        assert {"error": "bad ?"} == await client.receive()


async def test_hooks_end_when_a_node_stops(open_client: Open, redis: Redis) -> None:
    """
    A hook that runs when its node is told to stop is finished before the node leaves: no other node runs it again.
    """
    router = SocketRouter("/socket")
    started, ended = asyncio.Event(), asyncio.Event()

    @router.on_connect
    async def on_connect() -> User:
        return User("alice")

    @router.on_online
    async def on_online(user_id: str) -> None:
        node = running_node(app)
        assert node is not None
        started.set()
        await until(lambda: node.keeper.is_stopping)
        for _ in range(20):  # and goes on to end: what is cancelled then is cancelled here
            await asyncio.sleep(0)
        assert redis.exists("qrsocket:app:{q0}:claim:u:alice")
        ended.set()

    app = FastAPI()
    app.include_router(router)
    async with serving(app) as address:
        await open_client(address)
        await started.wait()

    assert ended.is_set()
    assert not redis.exists("qrsocket:app:{q0}:claim:u:alice", "qrsocket:app:{q0}:nodes")


@pytest.mark.parametrize("origin", ["http://[", "http://a:b:c", "x" * 3000])
async def test_a_misshapen_origin(
    serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture, origin: str
) -> None:
    """
    An Origin that is no address is refused without a traceback.
    """
    from tests.app.test_handshake import refusal

    address = await serve(router_of_named_users())

    assert 403 == (await refusal(open_client(address, origin=origin)))[0]
    assert [] == [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_user_whom_nobody_can_be(serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture) -> None:
    """
    An id that cannot name a user refuses the handshake, without a traceback.
    """
    from tests.app.test_handshake import refusal

    address = await serve(router_of_named_users())

    assert 403 == (await refusal(open_client(address, "/socket?user=" + "x" * 300)))[0]
    assert [] == [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_many_pings_in_a_while_are_fine(serve: Serve, open_client: Open) -> None:
    """
    A client may ping more often than it may send messages.
    """
    client = await open_client(await serve(router_of_named_users()))

    for _ in range(200):
        await (await client.connection.ping())

    await client.send(1)
    assert {"echo": 1} == await client.receive()


async def test_threads_that_hang_are_bounded(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    Handlers that hang in threads are answered in time, and do not make threads without end.
    """
    import threading

    configure(handler_timeout=20 * MS, rate=1000, rate_burst=1000)
    router = SocketRouter("/socket")
    may_end = threading.Event()

    @router.on_message
    def on_message() -> None:
        may_end.wait(30)

    client = await open_client(await serve(router))
    before = threading.active_count()
    try:
        for _ in range(60):
            await client.send(1)
        errors = [(await client.receive())["error"] for _ in range(60)]

        assert {f"Timeout: no answer within {20 * MS:g} s"} == set(errors)
        assert threading.active_count() - before <= 40
    finally:
        may_end.set()


@pytest.mark.parametrize("where", ["authenticate", "on_message"])
async def test_what_a_handler_waits_for_is_cancelled(serve: Serve, open_client: Open, where: str) -> None:
    """
    A CancelledError that comes out of a handler, of a future that somebody else cancelled say, is answered as a bug.
    """
    router = SocketRouter("/socket")

    async def wait_for_what_is_cancelled(data: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    if where == "authenticate":
        router.authenticate(wait_for_what_is_cancelled)
    else:
        router.on_message(wait_for_what_is_cancelled)

    client = await open_client(await serve(router))
    await client.send(1)

    assert (await client.receive())["error"].startswith("Internal error (")
    if where == "authenticate":
        assert 1011 == await client.closed()


async def test_a_router_that_is_included_twice(serve: Serve, open_client: Open) -> None:
    """
    A router included under two prefixes serves both, and runs its hooks once.
    """

    router, told = router_of_named_users(), []

    @router.on_online
    async def on_online(user_id: str) -> None:
        told.append(user_id)

    app = FastAPI()
    app.include_router(router)
    app.include_router(router, prefix="/v2")
    address = await serve(app=app)
    clients = [await open_client(address, f"{prefix}/socket?user=alice") for prefix in ("", "/v2")]

    await socket.to("alice").send("hi")

    assert ["hi", "hi"] == [await client.receive_text() for client in clients]
    assert ["alice"] == told


async def test_a_router_in_two_applications(redis_server: Any, open_client: Open, configure: Configure) -> None:
    """
    A router may serve two applications of one process; when one ends, the other goes on.
    """

    router, apps = router_of_named_users(), (FastAPI(), FastAPI())
    for app in apps:
        app.include_router(router)
    async with serving(apps[0]) as staying:
        async with serving(apps[1]):
            pass
        client = await open_client(staying)
        await client.send(1)

        assert {"echo": 1} == await client.receive()
        await client.connection.close()


async def test_a_busy_connection_answers_pings(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    A connection all of whose handlers are busy still answers pings, and notices that its client has gone.
    """
    configure(max_handlers_in_flight=1)
    router = SocketRouter("/socket")
    may_end = asyncio.Event()

    @router.on_connect
    async def on_connect() -> User:
        return User("alice")

    @router.on_message
    async def on_message() -> None:
        await may_end.wait()

    client = await open_client(await serve(router))
    for _ in range(5):
        await client.send(1)
    async with asyncio.timeout(PATIENCE):
        await (await client.connection.ping())
    await client.connection.close()

    await _until_offline("alice")
    may_end.set()


async def test_messages_wait_for_their_turn_but_not_all(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    While a connection's handlers are busy some messages wait for their turn; above that they are refused.
    """
    configure(max_handlers_in_flight=1, rate=100_000, rate_burst=5)
    router = SocketRouter("/socket")
    may_end = asyncio.Event()

    @router.on_message
    async def on_message(data: int) -> None:
        await may_end.wait()
        raise SocketError(f"done {data}")

    client = await open_client(await serve(router))
    for n in range(8):
        await client.send(n)
    refused = [await client.receive() for _ in range(2)]
    may_end.set()
    done = [(await client.receive())["error"] for _ in range(6)]

    assert [{"error": "Too many messages at once: wait for answers"}] * 2 == refused
    assert [f"done {n}" for n in range(6)] == done


async def _until_offline(user: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await socket.is_online(user):
            await asyncio.sleep(10 * MS)


async def test_clients_that_do_not_wait(
    serve: Serve, open_client: Open, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A client that goes away in the middle of its handshake leaves nothing behind, no traceback either.
    """
    address = await serve(router_of_named_users())
    host, port = address.split(":")
    request = (
        f"GET /socket?user=alice HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    redis.client_pause(50)
    for _ in range(10):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(request.encode())
        await writer.drain()
        writer.transport.abort()

    bob = await open_client(address, "/socket?user=bob")
    await until(lambda: [b"u:bob"] == [key.split(b"route:")[1] for key in redis.scan_iter("*route:u:*")])
    await until(lambda: 1 == len(redis.keys("*route:c:*")))
    await bob.send(1)

    assert {"echo": 1} == await bob.receive()
    assert [] == [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_node_that_ends_by_itself(serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture) -> None:
    """
    A node whose own work ends without an error, cancelled by what it runs in say, closes its sockets, is not ready, and
    says so: the process goes on, and nobody else would.
    """
    app = FastAPI()
    address = await serve(router_of_named_users(), app=app)
    alice = await open_client(address, "/socket?user=alice")
    node = running_node(app)
    assert node is not None
    assert node._living is not None
    node._living.cancel()

    assert 1012 == await alice.closed()
    assert "node died" in caplog.text
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as http:
        assert 503 == (await http.get("/socket/ready")).status_code
