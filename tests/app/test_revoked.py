"""Users who are signed out everywhere, and kept out: real nodes, real Redis, clients that come back again and again."""

import asyncio
import time
from typing import Any

import httpx2
import pytest
from fastapi import Depends
from redis import Redis

import qrsocket
import qrsocket.sync
from qrsocket import CloseCode, User, authenticated, socket
from qrsocket.keys import Keyspace
from qrsocket.presence.revocation import revoke
from qrsocket.roundtrip import run
from qrsocket.server import SocketRouter
from qrsocket.settings import get_settings
from qrsocket.testing import RequestFailed, client
from tests.app.conftest import Serve
from tests.app.speaking import VERSION_1, OpenSpeaker
from tests.clients import PATIENCE, Client, Open
from tests.conftest import MS, Configure, until

HOUR = 3600.0
COMING = 30  # reconnects before the revocation
BOTH = pytest.mark.parametrize("protocols", [[VERSION_1], None], ids=["v1", "plain"])


def user_of(token: str) -> User:
    """A token is `<user> <when it was issued>`, or the user alone."""
    name, _, issued_at = token.partition(" ")
    return User(name, time.time() + HOUR, float(issued_at) if issued_at else None)


def router_of_tokens(**hooks: list[str]) -> SocketRouter:
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> User | None:
        return None if "token" not in query else user_of(query["token"])

    @router.authenticate
    async def authenticate(data: str) -> User:
        return user_of(data)

    @router.on_message
    async def on_message(data: str, user: User) -> str:
        await authenticated(user.id)  # says nothing of a token
        return user.id

    @router.on_online
    async def on_online(user_id: str) -> None:
        hooks.get("online", []).append(user_id)

    return router


async def come(open_client: Open, address: str, token: str, protocols: list[str] | None) -> Client:
    somebody = await open_client(address, f"/socket?token={token.replace(' ', '%20')}", subprotocols=protocols)
    if protocols:
        await somebody.send_text("!hello\n{}")
    return somebody


async def is_in(somebody: Client) -> bool:
    """Whether it is let in; otherwise it is closed with 4101."""
    delivered = asyncio.create_task(somebody.receive_text())
    closed = asyncio.create_task(somebody.connection.wait_closed())
    await asyncio.wait([delivered, closed], return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
    delivered.cancel()
    await asyncio.gather(delivered, return_exceptions=True)
    if closed.done():
        assert CloseCode.REVOKED == somebody.connection.close_code, somebody.transcript
    closed.cancel()
    return not closed.done()


@BOTH
@pytest.mark.parametrize("is_known", [True, False], ids=["issued_at", "unknown"])
async def test_signed_out_everywhere_and_kept_out(
    serve: Serve, open_client: Open, protocols: list[str] | None, is_known: bool
) -> None:
    """
    All connections are closed with 4101, on each node, and so is each that comes back by a token from before. A new
    token is taken, and so is anybody else's.
    """
    addresses = [await serve(router_of_tokens()) for _ in range(2)]
    old = f"ada {time.time()}" if is_known else "ada"
    open_ones = [await come(open_client, address, old, protocols) for address in addresses]
    await until_online("ada", 2)

    delivery = await socket.to("ada").revoke(reason="stolen")

    assert (2, 2) == (delivery.connections, delivery.nodes)
    assert [4101, 4101] == [await one.closed() for one in open_ones]
    assert ["stolen", "stolen"] == [one.connection.close_reason for one in open_ones]
    for address in addresses:
        assert 4101 == await (await come(open_client, address, old, protocols)).closed()
        new = await come(open_client, address, f"ada {time.time() + 1}", protocols)
        bob = await come(open_client, address, "bob", protocols)
        await until_online("ada", 1)
        await until_online("bob", 1)
        await socket.to(["ada", "bob"]).send("hello")
        assert [True, True] == [await is_in(new), await is_in(bob)]
        await new.connection.close()
        await bob.connection.close()
        await until_online("ada", 0)


async def until_online(user: str, connections: int) -> None:
    async def count() -> int:
        return (await socket.to(user).send("", keep=False)).connections

    async with asyncio.timeout(PATIENCE):
        while await count() != connections:
            await asyncio.sleep(5 * MS)


@BOTH
async def test_nobody_slips_through(
    serve: Serve, configure: Configure, open_client: Open, protocols: list[str] | None
) -> None:
    """
    However handshakes and the revocation meet, nobody with a token from before stays in.
    """
    configure(max_connections_per_user=1000)
    addresses = [await serve(router_of_tokens()) for _ in range(2)]
    old, came, revoking = f"ada {time.time()}", 0, asyncio.Event()

    async def come_again_and_again(address: str) -> list[int]:
        nonlocal came
        codes: list[int] = []
        while CloseCode.REVOKED not in codes:
            somebody = await come(open_client, address, old, protocols)
            came += 1
            if not revoking.is_set():
                await somebody.connection.close()
            codes.append(await somebody.closed())  # which fails if it stays in
        return codes

    loops = [asyncio.create_task(come_again_and_again(address)) for address in addresses * 4]
    await until(lambda: came >= COMING)
    revoking.set()
    await qrsocket.revoke("ada")

    assert {1000, 4101} == {code for codes in await asyncio.gather(*loops) for code in codes}
    await until_online("ada", 0)


@BOTH
async def test_nobody_sees_who_is_kept_out(
    serve: Serve, open_client: Open, redis: Redis, protocols: list[str] | None
) -> None:
    """
    Who comes again and again by a token from before is never online, and never a member of a topic that he is put into
    as he connects: no hook is told so, nor any other member.
    """
    online: list[str] = []
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> User:
        await socket.join("room")
        return user_of(query["token"])

    @router.on_join("room", members=True)
    def on_join() -> None: ...

    @router.on_online
    async def on_online(user_id: str) -> None:
        online.append(user_id)

    address = await serve(router)
    bob = await come(open_client, address, "bob", [VERSION_1])
    await until(lambda: online == ["bob"])
    await qrsocket.revoke("ada")

    async def come_again_and_again() -> list[int]:
        return [await (await come(open_client, address, "ada", protocols)).closed() for _ in range(COMING)]

    codes = await asyncio.gather(*[come_again_and_again() for _ in range(3)])
    carol = await come(open_client, address, "carol", [VERSION_1])
    await until(lambda: "carol" in online)
    while '"carol"' not in str(await bob.receive_text()):
        pass

    assert {4101} == {code for some in codes for code in some}
    assert ["bob", "carol"] == online
    assert '"ada"' not in "".join(bob.transcript)
    await carol.connection.close()


@BOTH
async def test_a_new_token_beside_old_ones(
    serve: Serve, open_client: Open, redis: Redis, configure: Configure, protocols: list[str] | None
) -> None:
    """
    Somebody who comes again and again by a token from before keeps out nobody who has a new one, and puts out nobody:
    not while both come at once, nor while the node comes back after a fence.
    """
    configure(max_connections_per_user=1000)
    address, keys = await serve(router_of_tokens()), Keyspace.of(get_settings()).shards[0]
    await qrsocket.revoke("ada")
    new, is_over = f"ada {time.time() + 1}", asyncio.Event()

    async def come_again_and_again() -> set[int]:
        codes = set[int]()
        while not is_over.is_set():
            codes.add(await (await come(open_client, address, "ada", protocols)).closed())
        return codes

    hammering = [asyncio.create_task(come_again_and_again()) for _ in range(4)]
    welcome = [await come(open_client, address, new, protocols) for _ in range(20)]
    await until_online("ada", 20)
    redis.delete(keys.nodes)
    await until(lambda: redis.zcard(keys.nodes))
    await until_online("ada", 20)
    is_over.set()

    assert [{4101}] * 4 == await asyncio.gather(*hammering)
    await socket.to("ada").send("hello")
    for one in welcome:
        await until_text(one, "hello")
        await one.connection.close()


async def test_a_node_that_did_not_hear_it(serve: Serve, open_client: Open, redis: Redis) -> None:
    """
    A node that the order to close did not reach finds out when it comes back after a fence.
    """
    address = await serve(router_of_tokens())
    old, new = [await come(open_client, address, f"ada {when}", [VERSION_1]) for when in (1.5, time.time() + HOUR)]
    await until_online("ada", 2)
    keys = Keyspace.of(get_settings()).shards[0]

    run(redis, revoke(keys, ["u:ada"], seconds=60), timeout=PATIENCE)
    redis.delete(keys.nodes)

    assert 4101 == await old.closed()
    await until_online("ada", 1)
    await socket.to("ada").send("hello")
    await until_text(new, "hello")


async def until_text(somebody: Client, text: str) -> None:
    while text not in str(await somebody.receive_text()):
        pass


@BOTH
async def test_for_some_seconds(serve: Serve, open_client: Open, protocols: list[str] | None) -> None:
    """
    Where nobody knows when a token was issued, the user is let in again once the time is over; said again, the last
    time counts.
    """
    address = await serve(router_of_tokens())
    await qrsocket.revoke("ada")
    assert 4101 == await (await come(open_client, address, "ada", protocols)).closed()

    began = time.monotonic()
    await qrsocket.revoke("ada", for_seconds=500 * MS)
    codes = []
    while time.monotonic() - began < PATIENCE:
        ada = await come(open_client, address, "ada", protocols)
        delivering = asyncio.create_task(until_online("ada", 1))
        closing = asyncio.create_task(ada.closed())
        await asyncio.wait([delivering, closing], return_when=asyncio.FIRST_COMPLETED)
        delivering.cancel()
        if not closing.done():
            closing.cancel()
            break
        codes.append(await closing)

    assert {4101} == set(codes)
    assert time.monotonic() - began >= 0.9 * 500 * MS


async def test_the_first_message(serve: Serve, open_client: Open, open_speaker: OpenSpeaker) -> None:
    """
    A token from before that comes in the first message is refused as well, in both protocols.
    """
    address = await serve(router_of_tokens())
    old = f"ada {time.time()}"
    await socket.to("ada").revoke()
    plain, speaker = await open_client(address), await open_speaker(address)
    await plain.send(old)
    await speaker.ask("hello", auth=old)

    assert [4101, 4101] == [await plain.closed(), await speaker.closed()]


async def test_a_renewal_by_an_old_token(serve: Serve) -> None:
    """
    Who has signed in anew cannot renew by a token from before; the connection lives on until its own token ends.
    """
    old, new = f"ada {time.time()}", f"ada {time.time() + 1}"
    await socket.to("ada").revoke()
    async with client(f"http://{await serve(router_of_tokens())}", timeout=PATIENCE, auth=new) as ada:
        for proof in (old, "ada"):
            with pytest.raises(RequestFailed, match="Signed out"):
                await ada.renew(proof)

        assert "ada" == await ada.request("who?")
        await ada.renew(f"ada {time.time() + 2}")


async def test_no_hook_runs_for_the_refused(serve: Serve, open_client: Open) -> None:
    """
    Who is refused was never online.
    """
    online: list[str] = []
    address = await serve(router_of_tokens(online=online))
    await socket.to("ada").revoke()
    for _ in range(5):
        assert 4101 == await (await come(open_client, address, "ada", [VERSION_1])).closed()
    await come(open_client, address, "bob", [VERSION_1])
    await until(lambda: online)

    assert ["bob"] == online
    assert not await socket.is_online("ada")


async def test_by_http(serve: Serve) -> None:
    """
    Jobs are not shown by HTTP either: 401 with a token from before, 200 with a new one.
    """
    address, old = await serve(router_of_tokens()), f"ada {time.time()}"
    await socket.to("ada").revoke()
    async with httpx2.AsyncClient(timeout=PATIENCE) as http:

        async def status(token: str) -> int:
            return (await http.get(f"http://{address}/socket/jobs", params={"token": token})).status_code

        assert [401, 401, 200, 200] == [await status(token) for token in (old, "ada", f"ada {time.time() + 1}", "bob")]


async def test_a_dependency_says_when(serve: Serve, open_client: Open) -> None:
    """
    `await authenticated(User(…, issued_at=…))` of a dependency counts as what `on_connect` returns.
    """

    async def signed_in(token: str) -> None:
        await authenticated(user_of(token))

    router = SocketRouter("/socket", dependencies=[Depends(signed_in)])
    address, old = await serve(router), f"ada {time.time()}"
    await socket.to("ada").revoke()
    new = await come(open_client, address, f"ada {time.time() + 1}", None)
    await until_online("ada", 1)

    assert 4101 == await (await come(open_client, address, old, None)).closed()
    await socket.to("ada").send("hello")
    assert await is_in(new)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e10])
def test_what_is_no_time(seconds: Any) -> None:
    """
    A time that is none, or over ten years, is refused before anything is done.
    """
    with pytest.raises(ValueError, match="for_seconds"):
        qrsocket.sync.revoke("ada", for_seconds=seconds)
