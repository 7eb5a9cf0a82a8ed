"""What an operator finds in the log of a node: each refusal with its cause, and at DEBUG the way of a message."""

import logging
from typing import Any

import pytest
from fastapi import HTTPException
from redis import Redis
from redis.exceptions import ResponseError
from websockets.exceptions import InvalidStatus

from qrsocket import InvalidToken, SocketError, Unavailable, User, socket
from qrsocket.celery import reporting
from qrsocket.errors import CloseCode
from qrsocket.jobs.table import JobKey
from qrsocket.server import SocketRouter
from qrsocket.settings import InvalidSettings, Settings, get_settings
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.app.speaking import OpenSpeaker
from tests.clients import Client, Open
from tests.conftest import MS, Configure, until
from tests.unit.test_logger import documented_facts


def lines(caplog: pytest.LogCaptureFixture, *, level: int = logging.WARNING) -> list[dict[str, Any]]:
    """Return the facts of our lines at *level* or above, with the `text` that says what happened."""
    return [
        {**vars(record), "text": record.getMessage().partition(" (")[0]}
        for record in caplog.records
        if record.name.startswith("qrsocket") and record.levelno >= level and "lends no transport" not in record.msg
    ]


async def closed(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Wait for the line that says how a connection was closed."""
    line: dict[str, Any] = await until(
        lambda: next((one for one in lines(caplog) if one["text"] == "connection closed"), None)
    )
    return line


def raise_(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "status", "cause"),
    [
        (HTTPException(401, "canary"), 401, "HTTPException"),
        (SocketError("canary"), 403, "SocketError"),
        (InvalidToken("canary"), 401, "InvalidToken"),
    ],
    ids=["HTTPException", "SocketError", "InvalidToken"],
)
async def test_a_refused_handshake(
    serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture, error: Exception, status: int, cause: str
) -> None:
    """
    One line says with which status, by which class of exception, and where the application has raised it. Its words,
    which may quote a token, are not in it.
    """
    router = SocketRouter()

    @router.on_connect
    def on_connect() -> User:
        raise_(error)
        return User("nobody")

    address = await serve(router)
    with pytest.raises(InvalidStatus):
        await open_client(address)

    (line,) = lines(caplog)
    assert ("handshake refused by the application", status, cause, "127.0.0.1") == (
        line["text"],
        line["http_status"],
        line["error"],
        line["client"],
    )
    assert line["where"].startswith(f"{__name__}.raise_:")
    assert "canary" not in caplog.text


async def test_what_a_token_was_refused_for(serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture) -> None:
    """
    The class of the reason is in the log, which the client does not learn.
    """
    router = SocketRouter()

    @router.on_connect
    async def on_connect() -> User:
        raise InvalidToken from LookupError("canary")

    with pytest.raises(InvalidStatus):
        await open_client(await serve(router))

    (line,) = lines(caplog)
    assert "LookupError" == line["error"]


async def test_refusals_of_ours(
    serve: Serve, open_client: Open, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Of a handshake that we refuse the line says why in words.
    """
    configure(max_connections_per_address=1)
    address = await serve(router_of_named_users())
    with pytest.raises(InvalidStatus):
        await open_client(address, origin="https://evil.example")
    await open_client(address, "/socket?user=alice")
    with pytest.raises(InvalidStatus):
        await open_client(address, "/socket?user=bob")

    first, second = lines(caplog)
    assert first["text"].startswith("origin refused: ")
    assert ("https://evil.example", address) == (first["origin"], first["host_header"])
    assert ("handshake refused: Too many connections", 429) == (second["text"], second["http_status"])


async def refused_user(open_client: Open, address: str) -> Client:
    client = await open_client(address, "/socket?user=alice")
    await client.closed()
    return client


async def test_closed_codes_have_a_cause(
    serve: Serve, open_client: Open, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Each close that a user may wonder about is one warning, with the code, the reason, and whose connection it was.
    """
    configure(max_connections_per_user=1)
    address = await serve(router_of_named_users())
    await open_client(address, "/socket?user=alice")
    await refused_user(open_client, address)

    line = await closed(caplog)
    assert (CloseCode.TOO_MANY_CONNECTIONS, "too many connections of this user", "alice") == (
        line["code"],
        line["reason"],
        line["user"],
    )
    assert 32 == len(line["connection"])
    assert 1 == len(lines(caplog))


async def test_who_is_not_authenticated(serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture) -> None:
    """
    The line says what has refused the first message, and where, without its words.
    """
    router = SocketRouter()

    @router.authenticate
    async def authenticate(data: Any) -> User:
        raise HTTPException(401, f"{data} is no token")

    stranger = await open_client(await serve(router))
    await stranger.send("canary")
    await stranger.receive()

    assert CloseCode.NOT_AUTHENTICATED == await stranger.closed()
    line = await closed(caplog)
    assert (CloseCode.NOT_AUTHENTICATED, "not authenticated", "HTTPException") == (
        line["code"],
        line["reason"],
        line["error"],
    )
    assert line["where"].startswith(f"{__name__}.authenticate:")
    assert "canary" not in caplog.text


async def test_who_was_revoked(serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture) -> None:
    """
    It is said that his proof was from before.
    """
    address = await serve(router_of_named_users())
    await socket.to("alice").revoke()

    await refused_user(open_client, address)
    line = await closed(caplog)
    assert (CloseCode.REVOKED, "signed out", "alice") == (line["code"], line["reason"], line["user"])


async def test_a_full_node(
    serve: Serve, open_client: Open, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    """
    1013 is in the log, or under uvicorn's class that refuses before, 503.
    """
    configure(max_connections_per_node=1)
    address = await serve(router_of_named_users())
    await open_client(address, "/socket?user=alice")
    try:
        await refused_user(open_client, address)
    except InvalidStatus:
        (line,) = lines(caplog)
        assert ("handshake refused: this node is full", 503) == (line["text"], line["http_status"])
    else:
        line = await closed(caplog)
        assert (CloseCode.OVERLOADED, "this node is full") == (line["code"], line["reason"])


async def test_a_gap(serve: Serve, open_speaker: OpenSpeaker, redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """
    A client that is told of a gap is a warning, with the stream and the offset from which it goes on.
    """
    address = await serve(router_of_named_users())
    alice = await open_speaker(address, "alice")
    await alice.hello()
    await socket.to("alice").send("hi")
    since = alice.position
    await alice.cut()
    redis.delete(*redis.keys("*history:u:alice"))
    again = await open_speaker(address, "alice")
    ready = await again.hello(since)

    assert not ready["recovered"]
    (line,) = lines(caplog)
    assert ("gap told: messages are gone", "alice", "u:alice", ready["offset"]) == (
        line["text"],
        line["user"],
        line["stream"],
        line["offset"],
    )


async def test_clients_do_not_fill_the_log(
    serve: Serve, open_client: Open, open_speaker: OpenSpeaker, caplog: pytest.LogCaptureFixture
) -> None:
    """
    At INFO nothing is said of clients that come and go and of what they send; a client that asks for a gap again and
    again is logged some times, and hides nothing else.
    """
    caplog.set_level(logging.INFO)
    address = await serve(router_of_named_users())
    since = len(lines(caplog, level=logging.INFO))
    alice = await open_client(address, "/socket?user=alice")
    await alice.send(1)
    await alice.receive()
    await alice.connection.close(4104, "my own words")
    assert since == len(lines(caplog, level=logging.INFO))

    for number in range(30):
        speaker = await open_speaker(address, "alice")
        await speaker.client.send_text(f'!hello\n{{"epoch": "no{number}", "offset": 1}}')
        await speaker.control("ready")
        await speaker.cut()
    await socket.to("alice").revoke()
    await refused_user(open_client, address)
    await closed(caplog)
    assert 20 == sum(line["text"].startswith("gap told") for line in lines(caplog))


async def test_the_way_of_a_message(serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture) -> None:
    """
    From what a client sends to what another is written, each step is a line that has the ids of those before it.
    """
    caplog.set_level(logging.DEBUG, "qrsocket")
    router = SocketRouter()

    @router.on_connect
    async def on_connect(user: str) -> str:
        return user

    @router.on_message
    async def on_message(data: str) -> None:
        for _ in range(2):
            await socket.to("bob").send(data, message_id="order-17")
        await socket.to("carol").send(data)

    address = await serve(router)
    alice = await open_client(address, "/socket?user=alice")
    bob = await open_client(address, "/socket?user=bob")
    await alice.send("hi")
    await bob.receive_text()
    handled = await until(
        lambda: [one for one in lines(caplog, level=logging.DEBUG) if one["text"] == "message handled"]
    )

    steps = [one for one in lines(caplog, level=logging.DEBUG) if one.get("message_id") == "order-17"]
    assert ["message came to this node", "message sent", "message sent not again", "message written"] == sorted(
        one["text"].replace("not sent again: its id was sent before", "sent not again") for one in steps
    )
    written = next(one for one in steps if one["text"] == "message written")
    opened = [one for one in lines(caplog, level=logging.DEBUG) if one["text"] == "connection opened"]
    assert [("alice", "plain"), ("bob", "plain")] == [(one["user"], one["protocol"]) for one in opened]
    assert (opened[1]["connection"], "u:bob") == (written["connection"], written["stream"])
    sender = {(one["connection"], one["user"]) for one in steps if "sent" in one["text"]}
    assert {(opened[0]["connection"], "alice")} == sender
    assert f"{opened[0]['connection']}.1" == handled[0]["request_id"]
    known = {"text", "message", "asctime", *vars(logging.makeLogRecord({})), *documented_facts()}
    assert set() == {name for one in lines(caplog, level=logging.DEBUG) for name in one} - known
    (nobody,) = [one for one in lines(caplog, level=logging.DEBUG) if one.get("streams") == "u:carol"]
    assert ("message sent", 0) == (nobody["text"], nobody["connections"])


async def test_what_is_refused_of_a_client(
    serve: Serve, open_speaker: OpenSpeaker, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A topic, and a message too many, are refused at DEBUG, since the client is told.
    """
    caplog.set_level(logging.DEBUG, "qrsocket")
    configure(rate=1, rate_burst=2)
    router = router_of_named_users()
    router.on_join("closed")(lambda: raise_(SocketError("canary")))
    alice = await open_speaker(await serve(router), "alice")
    ready = await alice.hello()
    await alice.ask("join", topic="closed")
    await alice.frames_until("error")
    for number in range(3):
        await alice.send(number)
    await alice.frames_until("error")

    refused = [one for one in lines(caplog, level=logging.DEBUG) if "refused" in one["text"]]
    assert ["topic refused", "message refused: more than the rate allows"] == [one["text"] for one in refused[:2]]
    assert {(ready["connection"], "alice", logging.DEBUG)} == {
        (one["connection"], one["user"], one["levelno"]) for one in refused
    }
    assert ("closed", "SocketError") == (refused[0]["topic"], refused[0]["error"])
    assert "canary" not in caplog.text


async def test_what_a_client_says_when_it_goes(
    serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Its code is in the log at DEBUG, and no refusal of ours; its reason, which is its own words, is not.
    """
    caplog.set_level(logging.DEBUG, "qrsocket")
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")
    await alice.connection.close(4104, "canary")

    line = await until(
        lambda: next((one for one in lines(caplog, level=0) if one["text"].startswith("connection closed")), None)
    )
    assert ("connection closed by its client", logging.DEBUG, 4104) == (line["text"], line["levelno"], line["code"])
    assert "canary" not in " ".join(str(vars(one)) for one in caplog.records if one.name.startswith("qrsocket"))


@pytest.mark.not_on_lowest  # where uvicorn's class lends nothing, its close cannot be told from the client's
async def test_what_the_protocol_ends(
    serve: Serve, open_client: Open, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A frame that the WebSocket protocol refuses is a refusal of ours: the client has not closed.
    """
    configure(max_message_in_bytes=10)
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")
    await alice.send("x" * 11)
    line = await until(lambda: next((one for one in lines(caplog) if one["text"] == "connection closed"), None))

    assert (1009, "alice") == (line["code"], line["user"])
    assert "exceeds limit of 10 bytes" in line["reason"]


async def test_passwords_and_keys_are_not_in_the_log(
    serve: Serve, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Where Redis refuses, does not answer or is not to be had at all, neither its password nor a key is in a line.
    """
    caplog.set_level(logging.DEBUG, "qrsocket")
    at = get_settings().redis_url.get_secret_value().partition("://")[2]
    for url in (f"redis://nobody:canary-password@{at}", "redis://:canary-password@127.0.0.1:1/0"):
        configure(redis_url=url, signing_keys=f"canary-key-{'0' * 32}", redis_timeout=50 * MS)
        await serve(router_of_named_users())
        with pytest.raises(Unavailable):
            await socket.to("alice").send("canary-payload")

    told = " ".join(str(vars(record)) for record in caplog.records if record.name.startswith("qrsocket"))
    assert "Redis refuses the user name or the password" in told
    assert "message perhaps not sent: Redis unavailable" in told
    assert "canary" not in told


def test_wrong_settings_are_not_in_the_log(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Neither in the error, which is what a process ends with.
    """
    caplog.set_level(logging.DEBUG, "qrsocket")
    monkeypatch.setenv("QRSOCKET_REDIS_URI", "redis://:canary-password@127.0.0.1")
    configure(redis_url="canary://:canary-password@127.0.0.1", signing_keys="canary-key", rate="canary")
    with pytest.raises(InvalidSettings) as refused:
        get_settings()

    assert "QRSOCKET_REDIS_URI is no setting" in caplog.text
    assert "canary" not in f"{refused.value} {refused.value.__cause__} {[vars(record) for record in caplog.records]}"


def test_what_redis_refuses_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The error of Redis may have what was sent to it: the log of a worker has its first words alone, and no traceback.
    """
    answers = [Unavailable("no answer", 1.0), ResponseError("unknown command, with args beginning with: canary")]

    def ask(*_: object) -> None:
        raise answers.pop(0)

    monkeypatch.setattr(reporting, "ask_blocking", ask)
    reports = reporting.Reports(Settings(), lambda: None)
    reports.report("started", JobKey("u:alice", "job1"), {"task": "main.work", "title": "canary"})
    reports.deliver()

    waits, dropped = lines(caplog)
    facts = ("job1", "started", "main.work", "alice")
    assert [facts] * 2 == [(one["job"], one["job_event"], one["task"], one["user"]) for one in (waits, dropped)]
    assert "job event dropped, Redis refuses it: Redis answers with an error → look" in caplog.text
    assert "it says 'unknown command'" in caplog.text
    assert "canary" not in caplog.text
    assert dropped["exc_info"] is None
