"""The ways from a connection to its client: past ASGI, where the server lends its transport, and by ASGI elsewhere."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn
import uvloop
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.middleware import Middleware
from starlette.routing import Mount
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from qrsocket import events, socket
from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.server import SocketRouter
from qrsocket.server.framing import TEXT, framed
from qrsocket.server.http_protocol import HttpProtocol
from qrsocket.server.lifespan import running_node
from qrsocket.server.protocol import WebSocketProtocol
from qrsocket.server.runtime import Node
from tests.app.certificate import make_certificate
from tests.clients import PATIENCE
from tests.conftest import MS, Configure, until

# Of the class "another one", which uvicorn has not removed yet.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::uvicorn.config.UvicornDeprecationWarning"
)

OURS = WebSocketProtocol
LANES: dict[str, dict[str, Any]] = {
    "ours": {"ws": OURS, "http": HttpProtocol},
    "ours for WebSockets": {"ws": OURS},
    "uvicorn's own, which becomes ours": {"ws": "websockets-sansio"},
    "another one": {"ws": "websockets"},
}
# The transports of the two are not alike, and uvicorn runs on either.
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def app_with(router: SocketRouter) -> FastAPI:
    app = FastAPI()
    app.include_router(router)
    return app


def talking() -> SocketRouter:
    """Answers `{"all": n}` with n messages, of all kinds."""
    router = SocketRouter("/socket")

    @router.on_connect
    def on_connect() -> str:
        return "ada"

    @router.on_message
    async def on_message(data: dict[str, int]) -> None:
        for number in range(data["all"]):
            match number % 3:
                case 0:
                    await socket.reply({"n": number})
                case 1:
                    await socket.reply(f'{{"n":{number}}}')
                case 2:
                    await socket.reply(b"%d" % number)

    return router


@asynccontextmanager
async def serving(app: FastAPI, **options: Any) -> AsyncIterator[str]:
    """Serve *app* by uvicorn, with these options."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, **options)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        await server.shutdown()


def node_of(app: FastAPI) -> Node:
    node = running_node(app)
    assert node is not None
    return node


async def received(client: ClientConnection, number: int) -> list[str | bytes]:
    async with asyncio.timeout(PATIENCE):
        return [await client.recv() for _ in range(number)]


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("name", LANES)
async def test_everything_in_order(
    redis_server: EmbeddedRedis, configure: Configure, name: str, compression: bool
) -> None:
    """
    Whatever serves, what is sent arrives in order, also when much comes at once, and then the close.
    """
    configure(compression=compression)
    app = app_with(talking())
    async with serving(app, **LANES[name]) as address, connect(f"ws://{address}/socket") as client:
        await client.send('{"all": 300}')
        answers = await received(client, 300)
        large = "x" * 200_000
        sending = [
            asyncio.ensure_future(socket.to("ada").send({"n": number, "s": large})) for number in range(4)
        ]  # less than may wait
        await asyncio.gather(*sending)
        sizes = [len(text) for text in await received(client, 4)]
        await socket.to("ada").close(4101, "bye")
        await client.wait_closed()

    assert [b"%d" % number if number % 3 == 2 else f'{{"n":{number}}}' for number in range(300)] == answers
    assert [200_000] * 4 == [size // 10_000 * 10_000 for size in sizes]
    assert (4101, "bye") == (client.close_code, client.close_reason)
    assert compression == bool(client.protocol.extensions) or name == "another one"


async def test_a_head_that_is_refused_is_told(redis_server: EmbeddedRedis) -> None:
    """
    Those who observe learn of what the HTTP protocol answers in place of the application.
    """
    seen: list[object] = []
    with events.observed(SimpleNamespace(on_event=seen.append)):
        async with serving(app_with(talking()), **LANES["ours"]) as address, httpx.AsyncClient() as http:
            headers = {f"x-{number}": "1" for number in range(101)}
            assert 431 == (await http.get(f"http://{address}/socket/ready", headers=headers)).status_code

    assert events.Refused(431, "Request Header Fields Too Large") in seen


@pytest.mark.parametrize("name", LANES)
async def test_what_is_lost_is_said(redis_server: EmbeddedRedis, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """
    `/ready` and one line at start say what a server does not give us, and how to have it.
    """
    app = app_with(talking())
    async with serving(app, **LANES[name]) as address, httpx.AsyncClient() as http:
        ready = (await http.get(f"http://{address}/socket/ready")).json()
        async with connect(f"ws://{address}/socket"):
            (connection,) = node_of(app).hub.connections
            await until(lambda: connection._writer is not None)
            lent = connection._asgi_writer is None

    lines = [record.getMessage() for record in caplog.records if "qrsocket serve" in record.getMessage()]
    is_ours = LANES[name].get("http") is HttpProtocol
    assert ([] if is_ours else lines) == [ready[key] for key in ready if key == "lost"]
    assert (0 if is_ours else 1) == len(lines)
    assert (name != "another one") == lent


@pytest.mark.parametrize("name", LANES)
async def test_a_full_node(redis_server: EmbeddedRedis, configure: Configure, name: str) -> None:
    """
    The connection after the last is refused: with 503, or accepted and closed with 1013 where the server is not ours.
    """
    configure(max_connections_per_node=1)
    async with serving(app_with(talking()), **LANES[name]) as address, connect(f"ws://{address}/socket"):
        if LANES[name]["ws"] is OURS:
            with pytest.raises(InvalidStatus, match="503"):
                await connect(f"ws://{address}/socket")
        else:
            async with connect(f"ws://{address}/socket") as refused:
                await refused.wait_closed()
            assert 1013 == refused.close_code


async def test_tls(redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    """
    Past ASGI is not past TLS.
    """
    key, certificate = make_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate))
    app = app_with(talking())
    async with (
        serving(app, ws=OURS, ssl_keyfile=str(key), ssl_certfile=str(certificate)) as address,
        connect(f"wss://localhost:{address.rpartition(':')[2]}/socket", ssl=trusting) as client,
    ):
        await client.send('{"all": 30}')
        answers = await received(client, 30)
        for number in range(20):
            await socket.to("ada").send("x" * 100_000 + str(number))
        texts = await received(client, 20)

    assert 30 == len(answers)
    assert [str(number) for number in range(20)] == [str(text)[100_000:] for text in texts]


async def test_a_client_that_takes_long(redis_server: EmbeddedRedis, configure: Configure) -> None:
    """
    What a client does not take waits, in order; the transport is given no more once it is full.
    """
    configure(max_queued_messages=1_000, max_queued_bytes=2**30, ping_timeout=PATIENCE)
    app = app_with(talking())
    async with serving(app, ws=OURS) as address, connect(f"ws://{address}/socket", max_queue=1) as client:
        (connection,) = node_of(app).hub.connections
        number = 0
        while len(connection._waiting) < 5:
            await socket.to("ada").send(f"{number:05}" + "x" * 100_000)
            number += 1
        held = connection._protocol.transport.get_write_buffer_size()  # type: ignore[union-attr]
        texts = [str(text)[:5] for text in await received(client, number)]

    assert [f"{one:05}" for one in range(number)] == texts
    assert held < 1_000_000


async def test_other_websockets_are_left_alone(redis_server: EmbeddedRedis) -> None:
    """
    A WebSocket of the application that is not ours keeps uvicorn's limits, and its own way to write.
    """
    app = app_with(talking())

    @app.websocket("/other")
    async def other(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(str(len(await websocket.receive_text())))

    async with serving(app, ws=OURS) as address, connect(f"ws://{address}/other") as client:
        await client.send("x" * 10_000_000)
        (answer,) = await received(client, 1)

    assert "10000000" == answer


async def test_the_server_stops(redis_server: EmbeddedRedis) -> None:
    """
    What was sent before the server stops is written before its close frame.
    """
    app = app_with(talking())
    async with serving(app, ws=OURS) as address:
        client = await connect(f"ws://{address}/socket")
        (connection,) = node_of(app).hub.connections
        await until(lambda: connection._writer is not None)
        for number in range(10):
            connection.tell_error(str(number), None)
    texts = await received(client, 10)
    async with asyncio.timeout(PATIENCE):
        await client.wait_closed()

    assert [f'{{"error":"{number}"}}' for number in range(10)] == texts
    assert client.close_code in (1001, 1012)


class Counting:
    """A middleware that knows how many WebSockets are open, as long as the application serves them."""

    open = 0

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        Counting.open += scope["type"] == "websocket"
        try:
            await self._app(scope, receive, send)
        finally:
            Counting.open -= scope["type"] == "websocket"


async def seen_while_open(app: Any) -> int:
    """Return how many connections `Counting` sees while there is one; when that is closed, it must see none."""
    async with serving(app, ws=OURS) as address:
        async with connect(f"ws://{address}/socket") as client:
            await client.send('{"all": 3}')
            await received(client, 3)
            during = Counting.open
        await until(lambda: Counting.open == 0)
    return during


def with_middleware(app: FastAPI, _router: SocketRouter) -> Any:
    app.add_middleware(Counting)
    return app


def with_wrapper(app: FastAPI, _router: SocketRouter) -> Any:
    return Counting(app)


def in_an_application(app: FastAPI, _router: SocketRouter) -> Any:
    whole = FastAPI(lifespan=lambda _: app.router.lifespan_context(app))
    whole.add_middleware(Counting)
    whole.mount("/", app)
    return whole


@pytest.mark.parametrize("put", [with_middleware, with_wrapper, in_an_application], ids=lambda put: put.__name__)
async def test_whoever_waits_for_the_end(redis_server: EmbeddedRedis, put: Any) -> None:
    """
    A middleware, wherever it is, sees a connection for as long as that is open.
    """
    router = talking()
    assert 1 == await seen_while_open(put(app_with(router), router))


@pytest.mark.parametrize("where", ["router", "include", "application"])
async def test_a_dependency_that_is_closed_at_the_end(redis_server: EmbeddedRedis, where: str) -> None:
    """
    A dependency with a `yield` is closed when the connection is; one without has been asked.
    """
    order: list[str] = []

    async def session() -> AsyncIterator[None]:
        order.append("begin")
        yield
        order.append("end")

    needed = {where: [Depends(session)]}
    router = SocketRouter("/socket", dependencies=needed.get("router"))
    router.on_message(lambda: order.append("message"))
    app = FastAPI(dependencies=needed.get("application"))
    app.include_router(router, dependencies=needed.get("include"))
    async with serving(app, ws=OURS) as address:
        async with connect(f"ws://{address}/socket") as client:
            await client.send("1")
            await until(lambda: "message" in order)
        await until(lambda: "end" in order)

    assert ["begin", "message", "end"] == order


async def test_outside_of_the_layers(redis_server: EmbeddedRedis) -> None:
    """
    Where nobody waits for its end, a connection is served outside of FastAPI's layers, and counted until it has gone.
    """
    app = app_with(talking())
    async with serving(app, ws=OURS) as address:
        async with connect(f"ws://{address}/socket") as client:
            (connection,) = node_of(app).hub.connections
            (task,) = (task for task in asyncio.all_tasks() if "run_asgi" in repr(task))
            depth, coroutine = 0, task.get_coro()
            while (coroutine := getattr(coroutine, "cr_await", None)) is not None:
                depth += 1
            await client.send('{"all": 3}')
            await received(client, 3)
            sessions = node_of(app).sessions
        await until(lambda: node_of(app).sessions == 0)

    assert (1, []) == (sessions, [key for key in connection.websocket.scope if key.endswith("astack")])
    assert depth < 12


class Subclass(FastAPI):
    """An application that does something around each connection."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await Counting(super().__call__)(scope, receive, send)


def with_subclass(router: SocketRouter) -> Any:
    app = Subclass()
    app.include_router(router)
    return app


def with_patched_stack(router: SocketRouter) -> Any:
    """As OpenTelemetry's instrumentation does."""
    app = app_with(router)
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: Counting(build())  # type: ignore[method-assign,assignment,return-value]
    return app


def with_mounted_router(router: SocketRouter) -> Any:
    app = FastAPI(lifespan=router.lifespan_context)
    app.router.routes.append(Mount("/", routes=router.routes, middleware=[Middleware(Counting)]))
    return app


@pytest.mark.parametrize(
    "make", [with_subclass, with_patched_stack, with_mounted_router], ids=lambda make: make.__name__
)
async def test_whoever_is_put_around_an_application(redis_server: EmbeddedRedis, make: Any) -> None:
    """
    What is called around a connection without being a middleware of the application sees all of it, too.
    """
    router = talking()
    assert 1 == await seen_while_open(make(router))


async def test_a_tracer_that_patches_the_framework(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    As Sentry does, which puts itself in the place of a method.
    """
    call = FastAPI.__call__

    async def traced(self: FastAPI, scope: Any, receive: Any, send: Any) -> None:
        await Counting(lambda *asgi: call(self, *asgi))(scope, receive, send)

    monkeypatch.setattr(FastAPI, "__call__", traced)
    assert 1 == await seen_while_open(app_with(talking()))


async def test_an_application_that_fails_at_the_end(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A connection that is not served since the application has raised is not counted for ever.
    """
    served = APIRouter.app

    async def failing(self: APIRouter, *asgi: Any) -> None:
        await served(self, *asgi)
        if asgi[0]["type"] == "websocket":
            raise ValueError("after the endpoint has returned")

    monkeypatch.setattr(APIRouter, "app", failing)
    app = app_with(talking())
    async with serving(app, ws=OURS) as address:
        with pytest.raises(InvalidStatus):
            await connect(f"ws://{address}/socket")

        await until(lambda: node_of(app).sessions == 0)


async def test_a_client_that_speaks_while_much_is_on_its_way(redis_server: EmbeddedRedis, configure: Configure) -> None:
    """
    It is no flood: the transport holds little, and what waits for a client that reads is no fault of its own.
    """
    configure(max_queued_messages=10_000)
    app = app_with(talking())
    async with serving(app, ws=OURS) as address, connect(f"ws://{address}/socket", max_queue=1) as client:
        (connection,) = node_of(app).hub.connections
        await until(lambda: connection._writer is not None)
        for _ in range(3_000):
            connection.offer_whatever_waits(framed(TEXT, b"x" * 10_000))
        await client.send('{"all": 0}')
        await client.ping()
        texts = await received(client, 3_000)

    assert ["x" * 10_000] * 3_000 == texts


async def test_nothing_follows_a_close(redis_server: EmbeddedRedis, configure: Configure) -> None:
    """
    A client that is cut off, and reads again, gets what the transport held and the close frame, and nothing after that.
    """
    configure(max_queued_messages=10_000, max_queued_bytes=2**30, ping_timeout=300 * MS, ping_interval=PATIENCE)
    app = app_with(talking())
    async with serving(app, ws=OURS) as address:
        _reader, writer = await asyncio.open_connection(*address.split(":"), limit=1_000)
        writer.write(
            f"GET /socket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await until(lambda: len(node_of(app).hub) == 1)
        (connection,) = node_of(app).hub.connections
        await until(lambda: connection._writer is not None)
        for _ in range(3_000):
            connection.offer_whatever_waits(framed(TEXT, b"x" * 10_000))
        await until(lambda: connection.closing is not None)
        await until(lambda: connection._protocol.transport.is_closing())  # type: ignore[union-attr]
        async with asyncio.timeout(PATIENCE):
            data = await _reader.read(-1)
        writer.close()

    frames = parsed(data.partition(b"\r\n\r\n")[2])
    assert [0x8] == [opcode for opcode in frames if opcode != TEXT]
    assert 0x8 == frames[-1]
    assert len(frames) < 3_000


def parsed(data: bytes) -> list[int]:
    """The opcodes of all whole frames."""
    opcodes = []
    while len(data) >= 2:
        size, head = data[1], 2
        if size == 126:
            size, head = int.from_bytes(data[2:4]), 4
        if len(data) >= head + size:
            opcodes.append(data[0] & 0xF)
        data = data[head + size :]
    return opcodes
