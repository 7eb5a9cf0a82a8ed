"""The ways in: probes and the client's file, subprotocols, origins, and what the server's log says of all that."""

import gzip
import logging
from contextlib import suppress
from urllib.parse import quote

import httpx2
import pytest
from fastapi import Depends, FastAPI, HTTPException
from websockets.exceptions import InvalidStatus

from qrsocket import User, socket
from qrsocket.server import SocketRouter, Subprotocols
from qrsocket.server.queries import hide_queries
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.app.speaking import VERSION_1, Speaker
from tests.clients import PATIENCE, Open


async def ask(method: str, url: str, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(verify=False) as client:
        plain = {"Accept-Encoding": "identity", **{name.replace("_", "-"): text for name, text in headers.items()}}
        return await client.request(method, url, timeout=PATIENCE, headers=plain)


def locked() -> None:
    raise HTTPException(401, "locked")


@pytest.mark.parametrize("where", ["router", "include", "application"])
async def test_probes_and_the_client_need_no_user(serve: Serve, open_client: Open, where: str) -> None:
    """
    Dependencies lock the socket and the jobs, but neither the probe nor the client's file.
    """
    lock = [Depends(locked)]
    router = SocketRouter(dependencies=lock if where == "router" else None)
    app = FastAPI(dependencies=lock if where == "application" else None)
    app.include_router(router, dependencies=lock if where == "include" else None)
    address = await serve(app=app)
    answers = {path: await ask("GET", f"http://{address}/socket/{path}") for path in ("ready", "client.js", "jobs")}

    assert {"ready": 200, "client.js": 200, "jobs": 401} == {path: one.status_code for path, one in answers.items()}
    with pytest.raises(InvalidStatus, match="401"):
        await open_client(address)


@pytest.mark.parametrize("path", ["ready", "client.js"])
async def test_probes_may_use_head(serve: Serve, path: str) -> None:
    """
    HEAD, which `wget --spider` and many health checks send, is answered as GET is, without the body.
    """
    url = f"http://{await serve(router_of_named_users())}/socket/{path}"
    head, get = await ask("HEAD", url), await ask("GET", url)

    assert (200, b"") == (head.status_code, head.content)
    assert get.headers["Content-Length"] == head.headers["Content-Length"]
    assert 405 == (await ask("POST", url)).status_code


async def test_the_client_is_compressed_and_cached(serve: Serve) -> None:
    """
    The client's file comes compressed to who takes that, and not again to who has it.
    """
    url = f"http://{await serve(router_of_named_users())}/socket/client.js"
    plain, compressed = await ask("GET", url), await ask("GET", url, Accept_Encoding="br, gzip")
    tag = plain.headers["ETag"]
    known = [
        await ask("GET", url, If_None_Match=tag),
        await ask("HEAD", url, If_None_Match=f'"other", {tag}'),
        await ask("GET", url, If_None_Match=tag.removeprefix("W/")),
        await ask("GET", url, If_None_Match="*", Accept_Encoding="gzip"),
    ]
    other = await ask("GET", url, If_None_Match='W/"other"')

    assert gzip.decompress(gzip.compress(plain.content)) == compressed.content  # httpx has decompressed it
    assert ("gzip", tag) == (compressed.headers["Content-Encoding"], compressed.headers["ETag"])
    assert int(compressed.headers["Content-Length"]) < len(plain.content) / 2
    assert "Content-Encoding" not in plain.headers
    assert [(304, b"")] * 4 == [(one.status_code, one.content) for one in known]
    assert 200 == other.status_code
    for one in (plain, compressed, known[0]):
        assert "nosniff" == one.headers["X-Content-Type-Options"]
        assert "Accept-Encoding" == one.headers["Vary"]
        assert "*" == one.headers["Access-Control-Allow-Origin"]


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [("gzip", True), ("*", True), ("GZIP;q=0.5", True), ("gzip;q=0", False), ("*;q=0", False), ("", False),
     ("br", False), ("gzip; q=0.0, *", False), ("gzip;q=x", False)],
)  # fmt: skip
async def test_what_is_accepted_is_sent(serve: Serve, accepted: str, is_compressed: bool) -> None:
    """
    The client's file is compressed only where gzip is accepted.
    """
    answer = await ask(
        "GET", f"http://{await serve(router_of_named_users())}/socket/client.js", Accept_Encoding=accepted
    )

    assert is_compressed == ("Content-Encoding" in answer.headers)


def bearer_router() -> SocketRouter:
    router = SocketRouter()

    @router.on_connect
    async def on_connect(subprotocols: Subprotocols) -> User | None:
        match subprotocols:
            case ["bearer", token]:
                subprotocols.choose("bearer")
                return User(token)
            case [*_, "unoffered"]:
                subprotocols.choose("something else")
        return User(subprotocols[-1]) if subprotocols else None

    return router


async def test_a_token_as_a_subprotocol(serve: Serve, open_client: Open) -> None:
    """
    `new WebSocket(url, ["bearer", token])` is seen by on_connect, which chooses what the client is answered.
    """
    address = await serve(bearer_router())
    alice = await open_client(address, subprotocols=["bearer", "alice"])
    await socket.to("alice").send("plain")

    assert "bearer" == alice.connection.subprotocol
    assert "plain" == await alice.receive_text()


async def test_ours_is_chosen_by_itself(serve: Serve, open_client: Open) -> None:
    """
    Where on_connect chooses none, `qrsocket.v1` is chosen if it is offered, and the token beside it is seen.
    """
    client = await open_client(await serve(bearer_router()), subprotocols=[VERSION_1, "alice"])

    assert VERSION_1 == client.connection.subprotocol
    assert "alice" == (await Speaker(client).hello())["user"]


async def test_none_is_chosen(serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture) -> None:
    """
    Where none is chosen the log says that a browser closes then, without what was offered.
    """
    client = await open_client(await serve(bearer_router()), subprotocols=["bearer", "s3cret", "more"])

    assert client.connection.subprotocol is None
    assert "no subprotocol chosen" in caplog.text
    assert "s3cret" not in caplog.text


async def test_only_what_is_offered_is_chosen(
    serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """
    To choose what the client does not offer is an error of the application, and in its log.
    """
    with pytest.raises(InvalidStatus, match="500"):
        await open_client(await serve(bearer_router()), subprotocols=["s3cret", "unoffered"])
    assert "only a subprotocol that the client offers" in caplog.text
    assert "s3cret" not in caplog.text


async def test_a_refused_origin_is_in_the_log(
    serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The text of the line says which origin was refused, by which host, and what to write where.
    """
    address = await serve(router_of_named_users())
    with pytest.raises(InvalidStatus, match="403"):
        await open_client(address, origin="http://evil.example")

    (line,) = [record.getMessage() for record in caplog.records if "origin refused" in record.getMessage()]
    assert line.endswith(f"(origin http://evil.example, host_header {address})")
    assert "QRSOCKET_ALLOWED_ORIGINS" in line


SECRET = "?token=s3cret&user=alice"
HTTP = ["socket/jobs", "socket/jobs/7", "socket/ready", "socket/client.js", "socket/nothing", "sokcet/jobs", "socket"]


@pytest.mark.parametrize("is_locked", [False, True])
async def test_queries_are_not_in_the_log(
    serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture, is_locked: bool
) -> None:
    """
    What stands in a query is in no line of uvicorn's: of an HTTP route of ours, of a WebSocket, accepted, refused by
    on_connect or a dependency, nor of a path that nothing is at. The application's own routes are logged as they are.
    """
    for name in ("uvicorn.access", "uvicorn.error"):
        caplog.set_level(logging.INFO, logger=name)
    router = router_of_named_users()
    app = FastAPI()

    @app.get("/mine")
    async def mine() -> None: ...

    app.include_router(router, prefix="/prefix", dependencies=[Depends(locked)] if is_locked else None)
    address = await serve(app=app)
    for path in HTTP:
        await ask("GET", f"http://{address}/prefix/{path}{SECRET}")
        await ask("POST", f"http://{address}/{path}{SECRET}")
    await ask("GET", f"http://{address}/mine?shown=1")
    for path in ("/prefix/socket", "/socket", "/mine"):
        with suppress(InvalidStatus):
            await open_client(address, f"{path}{SECRET}")

    assert "s3cret" not in caplog.text
    assert "/mine?shown=1" in caplog.text
    assert "/prefix/socket/jobs?…" in caplog.text


@pytest.mark.parametrize("path", ["/{tenant}/socket", "/söcket", "/a+b/{x:path}/c", ""])
def test_queries_below_odd_paths_are_not_in_the_log(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    The path of a router may have parameters, and letters that are encoded in a URL.
    """
    hide_queries(path)
    asked = quote(path.replace("{tenant}", "acme").replace("{x:path}", "d/e"), safe="/+")
    record = logging.LogRecord(
        "uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d',
        ("127.0.0.1:1", "GET", f"/prefix{asked}/jobs?token=s3cret", "1.1", 200), None,
    )  # fmt: skip
    logging.getLogger("uvicorn.access").filter(record)
    hide_queries.__globals__["_filter"].paths.pop(path)

    assert "s3cret" not in record.getMessage()
