"""The console: what it tells and does, and for whom."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi import Depends, Header, HTTPException
from httpx2 import AsyncClient, Response
from websockets.exceptions import InvalidStatus

from qrsocket import clients, socket
from qrsocket.jobs.table import JobKey, Jobs
from qrsocket.keys import Keyspace
from qrsocket.roundtrip import run
from qrsocket.server import SocketRouter, console
from qrsocket.settings import get_settings
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.app.speaking import OpenSpeaker
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure

ADMIN = {"Authorization": "Bearer sesame"}
SECRET = "s3cr3t"


def is_admin(authorization: str = Header("")) -> None:
    if authorization != "Bearer sesame":
        raise HTTPException(403, "not you")


def with_console(path: str = "/console", **options: Any) -> SocketRouter:
    router = router_of_named_users()
    router.add_console(path, allow=Depends(is_admin), **options)
    return router


@pytest.fixture
async def http() -> AsyncIterator[AsyncClient]:
    async with AsyncClient(timeout=PATIENCE, trust_env=False) as http:
        yield http


def say(event: str, id: str, **said: Any) -> None:
    """Say *event* of a job of alice."""
    about = {"id": id, "task": "t", "turn": 0, "attempt": 1, "delay_ms": 0, "window_ms": 60_000}
    jobs = Jobs(Keyspace.of(get_settings()).of_stream("u:alice"), get_settings())
    call = jobs.advance(event, JobKey("u:alice", id), {**about, **said})
    run(clients.blocking(get_settings()), call, timeout=PATIENCE)


def a_failed_job() -> None:
    say("started", "j1", title=f"title {SECRET}", run="r")
    say("ended", "j1", run="r", state="failed", error=f"error {SECRET}", message=f"message {SECRET}")


async def test_for_whom(serve: Serve, http: AsyncClient) -> None:
    """
    Whoever *allow* refuses gets neither the page nor the state, and nothing is done; its files are open to all.
    """
    url = f"http://{await serve(with_console())}/socket/console"
    orders = {"send": {"user": "a", "message": 1}, "close": {"user": "a"}, "cancel": {"owner": "u:a", "id": "1"}}
    answers = [await http.get(url), await http.get(f"{url}/state")]
    answers += [await http.post(f"{url}/{order}", json=body) for order, body in orders.items()]

    assert [(403, {"detail": "not you"})] * 5 == [(answer.status_code, answer.json()) for answer in answers]
    assert [200, 200] == [(await http.get(f"{url}.{kind}")).status_code for kind in ("js", "css")]
    assert 200 == (await http.get(url, headers=ADMIN)).status_code


def test_allow_is_required() -> None:
    """
    Without it, what to do is said.
    """
    with pytest.raises(ValueError, match=r"add_console needs allow=Depends"):
        SocketRouter().add_console()


async def test_not_there_by_itself(serve: Serve, http: AsyncClient) -> None:
    """
    Outside of `qrsocket dev` no router has a console that did not ask for it.
    """
    address = await serve(router_of_named_users())

    assert 404 == (await http.get(f"http://{address}/socket/console")).status_code


@pytest.mark.parametrize("kind", ["", ".js", ".css", "/state"])
async def test_policy(serve: Serve, http: AsyncClient, kind: str) -> None:
    """
    Everything comes with a policy under which only our own files run, and no other site frames the page.
    """
    answer = await http.get(f"http://{await serve(with_console())}/socket/console{kind}", headers=ADMIN)
    policy = answer.headers["Content-Security-Policy"]

    assert 200 == answer.status_code
    assert "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert ("no-store", "nosniff") == (answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"])


@pytest.mark.parametrize(("path", "up"), [("/console", "."), ("/for/admins", "../")])
async def test_the_page_finds_its_files(serve: Serve, http: AsyncClient, path: str, up: str) -> None:
    """
    The page names its files, and the path of the router, relative to itself: a proxy may add a path before it.
    """
    url = f"http://{await serve(with_console(path))}/socket{path}"
    page = (await http.get(url, headers=ADMIN)).text
    files = re.findall(r'(?:src|href)="([^":]*)"', page)

    assert [f"{path.rpartition('/')[2]}.css", f"{path.rpartition('/')[2]}.js"] == files
    assert [200, 200] == [(await http.get(f"{url.rpartition('/')[0]}/{file}")).status_code for file in files]
    assert f'data-up="{up}"' in page
    assert "<style" not in page
    assert not re.search(r"\son\w+=|\sstyle=|<script(?![^>]*src)", page)


async def test_state(serve: Serve, http: AsyncClient, open_speaker: OpenSpeaker) -> None:
    """
    It tells who is there, which node holds the connection that asks, and the jobs of everybody.
    """
    address = await serve(with_console())
    ready = await (await open_speaker(address, "alice")).hello()
    a_failed_job()
    query = {"connection": ready["connection"]}
    told = (await http.get(f"http://{address}/socket/console/state", params=query, headers=ADMIN)).json()

    assert (1, ["alice"], {"failed": 1}) == tuple(told["status"][name] for name in ("users", "some_users", "jobs"))
    assert [told["node"]] == [told["your_node"]] == [node["name"] for node in told["status"]["nodes"]]
    assert [("u:alice", "alice", "j1", "failed")] == [
        (job["owner"], job["user"], job["id"], job["state"]) for job in told["jobs"]
    ]


async def test_whose_connection(serve: Serve, http: AsyncClient) -> None:
    """
    Of a connection that is not there, no node is told.
    """
    url = f"http://{await serve(with_console())}/socket/console/state"

    assert (await http.get(url, params={"connection": "none"}, headers=ADMIN)).json()["your_node"] is None


@pytest.mark.parametrize("shows_payloads", [False, True])
async def test_payloads(serve: Serve, http: AsyncClient, shows_payloads: bool) -> None:
    """
    What jobs say is told only where that was asked for.
    """
    address = await serve(with_console(shows_payloads=shows_payloads))
    a_failed_job()
    answer = await http.get(f"http://{address}/socket/console/state", headers=ADMIN)

    assert (3 if shows_payloads else 0) == answer.text.count(SECRET)
    assert shows_payloads is answer.json()["shows_payloads"]


async def order(http: AsyncClient, address: str, name: str, body: dict[str, Any], **headers: str) -> Response:
    return await http.post(f"http://{address}/socket/console/{name}", json=body, headers={**ADMIN, **headers})


async def test_orders(serve: Serve, http: AsyncClient, open_client: Open) -> None:
    """
    A test message reaches its user, a job is cancelled, and all connections of a user are closed.
    """
    address = await serve(with_console())
    alice = await open_client(address, "/socket?user=alice")
    sent = await order(http, address, "send", {"user": "alice", "message": {"hello": "world"}})
    text = await order(http, address, "send", {"user": "alice", "message": "hi"})
    messages = [str(await alice.receive_text()) for _ in range(2)]
    say("queued", "j1")
    cancelled = await order(http, address, "cancel", {"owner": "u:alice", "id": "j1"}, Origin=f"http://{address}")
    closed = await order(http, address, "close", {"user": "alice"})

    assert (1, 1) == (sent.json()["connections"], text.json()["nodes"])
    assert ['{"hello":"world"}', "hi"] == messages
    assert {"state": "cancelled"} == cancelled.json()
    assert 1 == closed.json()["connections"]
    assert 4101 == await alice.closed()


async def trail(http: AsyncClient, address: str, of: str, id: str) -> dict[str, Any]:
    url = f"http://{address}/socket/console/trail?of=page&id=page"  # the page's own query comes first
    answer = await http.get(url + "&" + urlencode({"of": of, "id": id}), headers=ADMIN)
    told: dict[str, Any] = answer.json()
    return told


async def test_what_became_of_a_message(
    serve: Serve, http: AsyncClient, open_client: Open, configure: Configure
) -> None:
    """
    It is told as `qrsocket why` tells it, of a message and of a user: ids, and no payload.
    """
    configure(trail_seconds=60)
    address = await serve(with_console())
    alice = await open_client(address, "/socket?user=alice")
    sent = (await order(http, address, "send", {"user": "alice", "message": SECRET})).json()
    await alice.receive_text()
    async with asyncio.timeout(PATIENCE):
        while "written" not in str((told := await trail(http, address, "message", sent["message_id"]))["verdict"]):
            await asyncio.sleep(10 * MS)
    of_alice = await trail(http, address, "user", "alice")

    assert (True, "written to 1") == (told["is_kept"], told["verdict"])
    assert re.search(r"sent it to u:alice at \d+: 1 connection", told["lines"][0])
    assert of_alice["verdict"] is None
    assert any("connected" in line for line in of_alice["lines"])
    assert SECRET not in str((told, of_alice))


async def test_no_trail(serve: Serve, http: AsyncClient, configure: Configure) -> None:
    """
    Where none is kept that is said, and so is what is unknown, and what is no user.
    """
    address = await serve(with_console())

    assert {"is_kept": False, "lines": [], "verdict": None} == await trail(http, address, "message", "m1")
    assert "detail" in await trail(http, address, "user", "x" * 1000)
    assert "detail" in await trail(http, address, "job", "j1")


async def test_refusals_and_slow_handlers(serve: Serve, http: AsyncClient, open_client: Open) -> None:
    """
    A handshake that was refused, a connection that the node has closed, and how long handlers take, of every node. What
    a client closes with is not among them.
    """
    router = SocketRouter()

    @router.on_connect
    async def on_connect(user: str) -> str:
        return user

    router.add_console(allow=Depends(is_admin))

    @router.on_message
    async def take(data: str) -> None:
        await asyncio.sleep(50 * MS)
        await socket.send("taken")

    address = await serve(router)
    with pytest.raises(InvalidStatus):
        await open_client(address, "/socket")
    alice, bob = [await open_client(address, f"/socket?user={user}") for user in ("alice", "bob")]
    await alice.send("hi")
    await alice.receive_text()
    await socket.to("alice").revoke()
    await alice.closed()
    await bob.connection.close(1008, "my words")
    async with asyncio.timeout(PATIENCE):
        while True:
            told = (await http.get(f"http://{address}/socket/console/state", headers=ADMIN)).json()
            figures = told["status"]["nodes"][0]["figures"] or {}
            refused = [(one["what"], one["user"]) for one in figures.get("refusals", ())]
            if ("closed 4101", "alice") in refused and figures["slowest"]:
                break
            await asyncio.sleep(10 * MS)

    assert any(what.startswith("handshake 4") and user is None for what, user in refused)
    assert "my words" not in str(told)
    (slow,) = figures["slowest"]
    assert (True, 1, True) == (slow["handler"].endswith("take"), slow["times"], slow["longest"] >= 0.05)


async def test_orders_that_cannot_be(serve: Serve, http: AsyncClient) -> None:
    """
    What is wrong is said.
    """
    address = await serve(with_console())
    answers = [
        await order(http, address, "cancel", {"owner": "u:alice", "id": "none"}),
        await order(http, address, "send", {"user": "", "message": "hi"}),
        await order(http, address, "send", {"user": "alice", "message": 2**60}),
        await order(http, address, "close", {}),
    ]

    assert [404, 422, 422, 422] == [answer.status_code for answer in answers]


@pytest.mark.parametrize("allowed", ["", "*", "https://app.example"])
@pytest.mark.parametrize("origin", ["https://evil.example", "https://app.example", "null"])
async def test_orders_of_other_sites(
    serve: Serve, http: AsyncClient, configure: Configure, allowed: str, origin: str
) -> None:
    """
    A page of another site has nothing done, not even one that may connect: a socket is a user's, this is not.
    """
    configure(allowed_origins=allowed)
    address = await serve(with_console())
    say("queued", "j1")
    orders = {
        "send": {"user": "a", "message": 1},
        "close": {"user": "a"},
        "cancel": {"owner": "u:alice", "id": "j1"},
    }
    answers = [await order(http, address, name, body, Origin=origin) for name, body in orders.items()]
    told = (await http.get(f"http://{address}/socket/console/state", headers=ADMIN)).json()

    assert [403, 403, 403] == [answer.status_code for answer in answers]
    assert {"queued": 1} == told["status"]["jobs"]


async def test_polls_are_not_logged(serve: Serve, http: AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """
    What an open page asks every two seconds is in no log, unless it fails.
    """
    url = f"http://{await serve(with_console())}/socket/console"
    access = logging.getLogger("uvicorn.access")
    caplog.set_level("INFO", "uvicorn.access")
    access.addHandler(caplog.handler)  # it does not propagate
    try:
        for path, headers in (("", ADMIN), ("/state", ADMIN), ("/state", {})):
            await http.get(f"{url}{path}?token=x", headers=headers)
    finally:
        access.removeHandler(caplog.handler)
    records = [record for record in caplog.records if record.name == "uvicorn.access"]
    lines = dict.fromkeys(record.getMessage().partition('"')[2] for record in records)

    assert ['GET /socket/console?… HTTP/1.1" 200', 'GET /socket/console/state?… HTTP/1.1" 403'] == list(lines)


async def test_without_redis(serve: Serve, http: AsyncClient, configure: Configure) -> None:
    """
    The page comes all the same, and the state is 503.
    """
    configure(redis_url="redis://127.0.0.1:1/0", redis_timeout=50 * MS)
    address = await serve(with_console())
    url = f"http://{address}/socket/console"

    assert 200 == (await http.get(url, headers=ADMIN)).status_code
    assert 503 == (await http.get(f"{url}/state", headers=ADMIN)).status_code
    assert 503 == (await order(http, address, "send", {"user": "a", "message": 1})).status_code


@pytest.fixture
def in_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "in_dev", True)


@pytest.mark.usefixtures("in_dev")
@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", 200), ("127.0.0.1", 200), ("[::1]", 200), ("app.localhost", 200), ("evil.example", 403), ("", 403)],
)
async def test_in_dev(serve: Serve, http: AsyncClient, host: str, expected: int) -> None:
    """
    In `qrsocket dev` it is there by itself, for this machine: not for a name that somebody else leads here.
    """
    address = await serve(router_of_named_users())
    headers = {"Host": f"{host}:{address.partition(':')[2]}"}

    for path in ("", "/state"):
        assert expected == (await http.get(f"http://{address}/socket/console{path}", headers=headers)).status_code


@pytest.mark.usefixtures("in_dev")
async def test_in_dev_for_others(serve: Serve, http: AsyncClient) -> None:
    """
    Another machine is refused, which a proxy here names.
    """
    address = await serve(router_of_named_users())
    answer = await http.get(f"http://{address}/socket/console", headers={"X-Forwarded-For": "192.0.2.7"})

    assert (403, True) == (answer.status_code, "for this machine" in answer.text)


@pytest.mark.usefixtures("in_dev")
async def test_the_application_s_own_counts_in_dev(serve: Serve, http: AsyncClient) -> None:
    """
    A console that the application adds takes the place of that of `qrsocket dev`.
    """
    address = await serve(with_console("/admin"))

    assert [404, 403] == [
        (await http.get(f"http://{address}/socket/{path}")).status_code for path in ("console", "admin")
    ]
