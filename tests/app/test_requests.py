"""Requests of a page: each has one answer, or one error, or the end of its connection."""

import asyncio
import json
import threading
from typing import Any

import pytest
from fastapi import HTTPException
from pydantic import BaseModel

from qrsocket import SocketError, socket
from qrsocket.server import SocketRouter
from qrsocket.sync import socket as blocking_socket
from qrsocket.testing import RequestFailed, client
from tests.app.conftest import Serve
from tests.app.speaking import OpenSpeaker, Speaker
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure


class Hits(BaseModel):
    found: list[str]


def router_that_answers() -> SocketRouter:  # noqa: C901 - a list of cases
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> str | None:
        return query.get("user")

    @router.on_message(timeout=1)
    async def on_message(data: dict[str, Any]) -> object:  # noqa: C901 - so is this
        match data["do"]:
            case "return":
                return data["what"]
            case "model":
                return Hits(found=["a"])
            case "bytes":
                return b"\x00\n\xff"
            case "reply":
                await socket.reply(data["what"])
            case "reply twice":
                await socket.reply(1)
                await socket.reply(2)
            case "reply and return":
                await socket.reply(1)
                return 2
            case "reply and fail":
                await socket.reply(1)
                raise SocketError("too late")
            case "fail":
                raise SocketError("for you")
            case "http":
                raise HTTPException(409, "conflict")
            case "bug":
                raise ValueError("s3cret")
            case "hang":
                await asyncio.Event().wait()
            case "no json":
                return object()
            case "too large":
                return "x" * 300_000
        return None

    return router


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({"do": "return", "what": {"a": [1]}}, {"a": [1]}),
        ({"do": "return", "what": "text"}, "text"),
        ({"do": "return", "what": '{"a":1}'}, '{"a":1}'),
        ({"do": "return", "what": None}, None),
        ({"do": "return", "what": False}, False),
        ({"do": "return", "what": []}, []),
        ({"do": "nothing"}, None),
        ({"do": "model"}, {"found": ["a"]}),
        ({"do": "bytes"}, b"\x00\n\xff"),
        ({"do": "reply", "what": {"a": 1}}, {"a": 1}),
        ({"do": "reply", "what": None}, None),
        ({"do": "reply twice"}, 1),
        ({"do": "reply and return"}, 1),
        ({"do": "reply and fail"}, 1),
    ],
)
async def test_answers(serve: Serve, asked: Any, answer: Any) -> None:
    """
    The answer is what the handler returns or, if it comes first, its `reply`; nothing comes after it.
    """
    url = f"http://{await serve(router_that_answers())}"
    async with client(url, query={"user": "ada"}, timeout=PATIENCE) as ada:
        assert answer == await ada.request(asked)
        assert "next" == await ada.request({"do": "return", "what": "next"})
        assert not ada._inbox.messages
        assert 2 == sum(" < r=" in line for line in ada.transcript.splitlines()), ada.transcript


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"do": "fail"}, "^for you$"),
        ({"do": "http"}, "^conflict$"),
        ({"do": "bug"}, "^Internal error"),
        ({"do": "hang"}, "^Timeout: no answer within 1 s$"),
        ({"do": "no json"}, "^Internal error"),
        ({"do": "too large"}, "^Internal error"),
        ([], "Input should be a valid dictionary|Input should be an object"),
        (b"bytes", "^Binary messages are not handled here$"),
    ],
)
async def test_errors(serve: Serve, asked: Any, error: str) -> None:
    """
    A request whose handler fails, or whose answer cannot be sent, is answered with one error.
    """
    url = f"http://{await serve(router_that_answers())}"
    async with client(url, query={"user": "ada"}, timeout=PATIENCE) as ada:
        with pytest.raises(RequestFailed, match=error) as failed:
            await ada.request(asked)

        assert "s3cret" not in str(failed.value)
        assert 1 == await ada.request({"do": "return", "what": 1})
        assert 1 == ada.transcript.count("< !error")


async def test_answers_come_as_they_are_ready(serve: Serve) -> None:
    """
    Requests of one page are handled side by side, and each answer says whose it is.
    """
    router = SocketRouter("/socket")
    may_answer = {number: asyncio.Event() for number in range(3)}

    @router.on_message
    async def on_message(data: int) -> int:
        await may_answer[data].wait()
        return data

    async with client(f"http://{await serve(router)}", timeout=PATIENCE) as somebody:
        asking = [asyncio.create_task(somebody.request(number)) for number in range(3)]
        for number in (2, 0, 1):
            may_answer[number].set()
            assert number == await asking[number]


async def test_what_is_returned_without_a_request(serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    Without `want=reply` nobody gets what a handler returns; `reply` still reaches that connection alone.
    """
    speaker = await open_speaker(await serve(router_that_answers()), "ada")
    await speaker.hello()
    await speaker.send({"do": "return", "what": 1}, request="7")
    await speaker.send({"do": "reply twice"}, request="8")

    assert ["-\n1", "-\n2"] == [await speaker.client.receive_text() for _ in range(2)]


async def test_reply_in_the_plain_protocol(serve: Serve, open_client: Open) -> None:
    """
    A plain client gets a `reply` as it is, on the connection that has asked and on no other.
    """
    address = await serve(router_that_answers())
    plain = await open_client(address, "/socket?user=ada")
    other = await open_client(address, "/socket?user=ada")
    await plain.send({"do": "reply", "what": "only you"})
    assert "only you" == await plain.receive_text()
    await plain.send({"do": "return", "what": "nobody"})
    await plain.send({"do": "reply", "what": "again"})
    assert "again" == await plain.receive_text()
    await socket.to("ada").send("both")

    assert "both" == await plain.receive_text()
    assert "both" == await other.receive_text()


async def test_blocking_handlers(serve: Serve) -> None:
    """
    A `def` handler replies, joins and leaves with the blocking verbs, and what it returns is the answer.
    """
    router = SocketRouter("/socket")

    @router.on_message
    def on_message(data: str) -> str | None:
        if data == "join":
            blocking_socket.join("room:7")
            return threading.current_thread().name
        if data == "leave":
            blocking_socket.leave("room:7")
            return None
        blocking_socket.reply(data[::-1])
        return None

    async with client(f"http://{await serve(router)}", timeout=PATIENCE) as somebody:
        assert "cba" == await somebody.request("abc")
        assert threading.main_thread().name != await somebody.request("join")
        assert somebody.topic("room:7").is_joined
        await somebody.request("leave")
        assert not somebody.topic("room:7").is_joined


async def test_a_reply_from_elsewhere(serve: Serve) -> None:
    """
    What a handler has started may reply when the handler has ended: not to a request, which is answered by then.
    """
    router = SocketRouter("/socket")
    failures: list[BaseException] = []
    tasks: list[asyncio.Task[None]] = []
    may_reply = asyncio.Event()

    @router.on_message
    async def on_message(data: str) -> None:
        async def reply_later() -> None:
            await may_reply.wait()
            try:
                await socket.reply("later")
            except RuntimeError as error:
                failures.append(error)

        tasks.append(asyncio.create_task(reply_later()))

    async with client(f"http://{await serve(router)}", timeout=PATIENCE) as somebody:
        assert await somebody.request("a") is None
        await somebody.send("b")
        assert await somebody.request("c") is None
        may_reply.set()
        await asyncio.gather(*tasks)

        assert "later" == await somebody.receives()
        assert 2 == len(failures)
        assert "answered already" in str(failures[0])
        await somebody.receives_nothing()


async def test_too_fast(serve: Serve, open_speaker: OpenSpeaker, configure: Configure) -> None:
    """
    A request beyond the rate, or among too many at once, is refused under its own id.
    """
    configure(renew_interval=20 * MS, rate=1, rate_burst=5)
    speaker = await open_speaker(await serve(router_that_answers()), "ada")
    await speaker.hello()
    for number in range(8):
        await speaker.client.send_text(f"{number} want=reply\n" + json.dumps({"do": "return", "what": number}))
    outcomes = [await outcome(speaker) for _ in range(8)]

    assert {str(number) for number in range(8)} == {request for request, _ in outcomes}
    assert 8 == len(outcomes)
    assert any("Too many messages" in str(text) for _, text in outcomes)


@pytest.mark.parametrize("frame", ["!what\n{}", "!what a=b\n{}", '!\n{"a":1}'])
async def test_an_unknown_word_is_ignored(serve: Serve, open_speaker: OpenSpeaker, frame: str) -> None:
    """
    A control frame that we do not know is for a newer server: ignored, unless it wants an answer.
    """
    speaker = await open_speaker(await serve(router_that_answers()), "ada")
    await speaker.hello()
    await speaker.client.send_text(frame)
    await speaker.client.send_text('!what\n{"request":"9"}')

    error = await speaker.control("error")

    assert {"error": "!what is not known here", "request": "9"} == error


async def outcome(speaker: Speaker) -> tuple[str, object]:
    """Return the id of the request whose answer, or error, comes next, and that."""
    header, _, body = str(await speaker.client.receive_text()).partition("\n")
    if header == "!error":
        fields = json.loads(body)
        return fields["request"], fields["error"]
    assert header.startswith("- r=")
    return header.removeprefix("- r="), json.loads(body)
