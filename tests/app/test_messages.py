"""What clients send: decoded, validated, handled in time, limited, and answered when something is wrong."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from datetime import date
from typing import Any, Literal

import pytest
from fastapi import Depends, HTTPException, WebSocket
from pydantic import BaseModel, ConfigDict

from qrsocket import SocketError, User, socket
from qrsocket.server import SocketRequest, SocketRouter
from qrsocket.sync import socket as blocking
from tests.app.conftest import Serve
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure


class ChatIn(BaseModel):
    model_config = ConfigDict(strict=True)

    text: str
    on: date | None = None


async def test_a_handler_gets_what_it_names(serve: Serve, open_client: Open) -> None:
    """
    A handler gets data, user, connection and request_id by name, and `request` with all four.
    """
    router = SocketRouter("/socket")
    seen: list[Any] = []

    @router.on_connect
    async def on_connect() -> User:
        return User("alice")

    @router.on_message
    async def on_message(
        request: SocketRequest, data: ChatIn, user: User | None, connection: str, request_id: str
    ) -> None:
        seen.append((request, SocketRequest(data, user, connection, request_id)))
        await socket.send("ok")

    client = await open_client(await serve(router))
    for _ in range(2):
        await client.send({"text": "hi", "on": "2026-02-03"})
        await client.receive_text()

    assert all(request == others for request, others in seen)
    assert ChatIn(text="hi", on=date(2026, 2, 3)) == seen[0][0].data
    assert User("alice") == seen[0][0].user
    assert seen[0][0].connection == seen[1][0].connection
    assert seen[0][0].request_id != seen[1][0].request_id


@pytest.mark.parametrize(
    ("type", "sent", "received"),
    [
        ("json", b'{"a": 1}', "Binary messages are not handled here"),
        ("string", "not {json", "'not {json'"),
        ("text", "👋", "'👋'"),
        ("string", b"x", "Binary messages are not handled here"),
        ("binary", b"\x00\xff", "b'\\x00\\xff'"),
        ("binary", "x", "Text messages are not handled here"),
    ],
)
async def test_types(
    serve: Serve, open_client: Open, type: Literal["json", "string", "text", "binary"], sent: Any, received: str
) -> None:
    """
    A handler takes text frames, as JSON or as they came, or binary frames; the other kind is answered with an error.
    """
    router = SocketRouter("/socket")

    @router.on_message(type=type)
    async def on_message(data: Any) -> None:
        raise SocketError(repr(data))

    client = await open_client(await serve(router))
    await client.send_text(sent)

    assert {"error": received} == await client.receive()


async def test_text_and_binary_side_by_side(serve: Serve, open_client: Open) -> None:
    """
    One router may have a handler for text frames and one for binary frames.
    """
    router = SocketRouter("/socket")

    @router.on_message
    async def on_json(data: int) -> None:
        await socket.send({"json": data})

    @router.on_message(type="binary")
    async def on_binary(data: bytes) -> None:
        await socket.send(data[::-1])

    client = await open_client(await serve(router))

    await client.send(1)
    assert {"json": 1} == await client.receive()
    await client.send(b"abc")
    assert b"cba" == await client.receive()


def router_of_fates() -> SocketRouter:
    router = SocketRouter("/socket")

    @router.on_message(timeout=1)  # in which all but the one that hangs have ended
    async def on_message(data: ChatIn) -> None:
        match data.text:
            case "hang":
                await asyncio.Event().wait()
            case "for the client":
                raise SocketError("for you")
            case "http":
                raise HTTPException(409, "conflict")
            case "bug":
                raise ValueError("s3cret")
            case "own timeout":
                raise TimeoutError("s3cret")
        await socket.send({"ok": data.text})

    return router


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ("{", "Invalid JSON"),
        ("", "Invalid JSON"),
        ("NaN", "Invalid JSON"),
        ('{"text": "\\ud800"}', "Invalid JSON"),
        ('{"text": 1e999}', "Invalid JSON: a number is too large"),
        ("[" * 33 + "]" * 33, "Invalid JSON: nested deeper than 32 levels"),
        ("[" * 20_000, "Invalid JSON"),
        ("1", "data: Input should be an object"),
        ("{}", "text: Field required"),
        ('{"text": 1, "on": "never"}', "text: Input should be a valid string; on: Input should be a valid date"),
        ('{"text": "hang"}', "Timeout: no answer within 1 s"),
        ('{"text": "for the client"}', "for you"),
        ('{"text": "http"}', "conflict"),
    ],
)
async def test_errors(serve: Serve, open_client: Open, sent: str, error: str) -> None:
    """
    What is wrong with a message is answered with an error, and the connection lives on.
    """
    client = await open_client(await serve(router_of_fates()))

    await client.send_text(sent)

    answer = await client.receive()
    assert {"error"} == answer.keys()
    assert answer["error"].startswith(error)
    await client.send({"text": "still here"})
    assert {"ok": "still here"} == await client.receive()


@pytest.mark.parametrize("text", ["bug", "own timeout"])
@pytest.mark.parametrize("debug", [False, True])
async def test_an_unexpected_error(
    serve: Serve, open_client: Open, configure: Configure, caplog: pytest.LogCaptureFixture, text: str, debug: bool
) -> None:
    """
    An exception that was not raised for the client answers with a request id, and is logged with its traceback under
    that id; its text is told with `debug` only.
    """
    configure(debug=debug)
    client = await open_client(await serve(router_of_fates()))

    await client.send({"text": text})

    error = (await client.receive())["error"]
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert error.startswith(f"Internal error ({record.__dict__['request_id']})")
    assert "s3cret" in caplog.text
    assert debug == ("s3cret" in error)


async def test_depends(serve: Serve, open_client: Open) -> None:
    """
    `Depends` is solved for each message and closed after it, also when the handler fails; overrides work.
    """
    router = SocketRouter("/socket")
    events: list[str] = []

    async def database(websocket: WebSocket) -> AsyncIterator[str]:
        events.append("opened")
        try:
            yield websocket.url.path
        finally:
            events.append("closed")

    @router.on_message
    async def on_message(data: Any, limit: int = 7, path: str = Depends(database)) -> None:
        events.append(f"{path} {limit}")
        if data == "fail":
            raise SocketError("failed")
        await socket.send("ok")

    client = await open_client(await serve(router), "/socket?limit=8")
    for data in ("one", "fail"):
        await client.send(data)
        await client.receive_text()
        assert ["opened", "/socket 8"] == events[:2]
        await _settled(events, 3)
        assert "closed" == events[2]
        events.clear()


async def _settled(events: list[str], count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(events) < count:
            await asyncio.sleep(MS)


async def test_a_plain_function(serve: Serve, open_client: Open) -> None:
    """
    A `def` handler runs in a thread, knows its user, and may block.
    """
    router = SocketRouter("/socket")
    threads: list[threading.Thread] = []

    @router.on_connect
    def on_connect() -> User:
        return User("alice")

    @router.on_message
    def on_message(data: Any) -> None:
        threads.append(threading.current_thread())
        blocking.send({"echo": data})

    client = await open_client(await serve(router))
    await client.send(1)

    assert {"echo": 1} == await client.receive()
    assert threads[0] is not threading.main_thread()


async def test_no_handlers(serve: Serve, open_client: Open) -> None:
    """
    Without any handler clients connect and may be sent to; what they send is answered with an error.
    """
    client = await open_client(await serve(SocketRouter("/socket")))

    await client.send(1)

    assert {"error": "Text messages are not handled here"} == await client.receive()


async def test_so_many_at_once(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    So many messages of a connection are handled at once; more wait until one is done.
    """
    configure(max_handlers_in_flight=2)
    router = SocketRouter("/socket")
    started: asyncio.Queue[int] = asyncio.Queue()
    may_end = asyncio.Semaphore(0)

    @router.on_message
    async def on_message(data: int) -> None:
        started.put_nowait(data)
        await may_end.acquire()
        await socket.send({"done": data})

    client = await open_client(await serve(router))
    for n in range(3):
        await client.send(n)
    first_two = [await started.get(), await started.get()]

    assert [0, 1] == first_two
    assert started.empty()
    may_end.release()
    assert {"done": 0} == await client.receive()
    assert 2 == await started.get()
    may_end.release()
    may_end.release()


async def test_rate(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    Above the rate a message is refused with an error; a client that goes on regardless is closed with 4104.
    """
    configure(rate=0.001, rate_burst=3)
    router = SocketRouter("/socket")

    @router.on_message
    async def on_message(data: int) -> None:
        await socket.send({"ok": data})

    client = await open_client(await serve(router))
    for n in range(7):
        await client.send(n)

    assert 4104 == await client.closed()
    refused = [line for line in client.transcript if "Too many messages" in line]
    assert 3 == len(refused)


async def test_too_large(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    A message of just the limit is taken; of one byte more, the connection is closed with 1009.
    """
    configure(max_message_in_bytes=1000)
    router = SocketRouter("/socket")

    @router.on_message(type="string")
    async def on_message(data: str) -> None:
        await socket.send({"length": len(data)})

    client = await open_client(await serve(router))

    await client.send_text("x" * 1000)
    assert {"length": 1000} == await client.receive()
    await client.send_text("x" * 1001)
    assert 1009 == await client.closed()


async def test_depth_is_a_setting(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    How deep a document may be nested can be set, for both directions.
    """
    configure(max_json_depth=2)
    router = SocketRouter("/socket")

    @router.on_message
    async def on_message(data: Any) -> None:
        await socket.send([data])

    client = await open_client(await serve(router))
    for sent, answer in (([1], [[1]]), ([[1]], {"error": "Internal error"}), ([[[1]]], {"error": "Invalid JSON"})):
        await client.send(sent)
        received = await client.receive()
        assert answer == received or received["error"].startswith(answer["error"])


async def test_a_client_that_leaves_loses_nothing(serve: Serve, open_client: Open) -> None:
    """
    A handler that runs when its client leaves is finished, and its message reaches the user's other device.
    """
    router = SocketRouter("/socket")
    started, may_end = asyncio.Event(), asyncio.Event()

    @router.on_connect
    async def on_connect() -> User:
        return User("alice")

    @router.on_message
    async def on_message() -> None:
        started.set()
        await may_end.wait()
        await socket.send("done")

    address = await serve(router)
    leaving, staying = await open_client(address), await open_client(address)
    await leaving.send(1)
    await started.wait()
    await leaving.connection.close()
    may_end.set()

    assert "done" == await staying.receive_text()


async def test_one_bad_client_harms_nobody(serve: Serve, open_client: Open) -> None:
    """
    Garbage on the wire ends its own connection; the neighbour does not notice.
    """
    router = SocketRouter("/socket")

    @router.on_message
    async def on_message(data: Any) -> None:
        await socket.send({"echo": data})

    address = await serve(router)
    good, bad = await open_client(address), await open_client(address)
    bad.connection.transport.write(b"\xff" * 100)

    assert 1002 == await bad.closed()
    await good.send(1)
    assert {"echo": 1} == await good.receive()
