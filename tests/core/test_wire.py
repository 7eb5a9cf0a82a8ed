"""What is on the wire in both protocols, frame by frame: the vectors are those that our clients are tested with."""

import json
from pathlib import Path
from typing import Any

import pytest

from qrsocket.errors import SocketError
from qrsocket.headers import read_header
from qrsocket.jwt import MAX_TOKEN_BYTES
from qrsocket.message import Kind, Message, Options
from qrsocket.server.framing import event_of
from qrsocket.server.hello import MAX_OFFSET, Hello, read_hello, read_position
from qrsocket.server.wire import (
    MAX_AUTH,
    MAX_CONTROL,
    MAX_HEADER,
    MAX_REQUEST_ID,
    PLAIN,
    VERSION1,
    VERSION_1,
    Inbound,
    Json,
    wire_for,
)
from qrsocket.topics import MAX_TOPICS

VECTORS = json.loads((Path(__file__).parent.parent / "wire" / "vectors.json").read_text())
# Words that the server writes, and that both sides know.
KNOWN = ("t", "k", "r", "x")


def frame_of(vector: dict[str, Any]) -> str | bytes:
    return bytes.fromhex(vector["bytes"]) if "bytes" in vector else str(vector["frame"])


def name_of(vector: dict[str, Any]) -> str:
    return ascii(frame_of(vector))


def sent(frame: bytes) -> str | bytes:
    """What reaches the client."""
    event = event_of(frame)
    assert "websocket.send" == event["type"]
    assert {"text", "bytes"} & set(event) == set(event) - {"type"}
    payload: str | bytes = event["bytes"] if "bytes" in event else event["text"]
    return payload


def split(frame: str | bytes) -> tuple[str, dict[str, str], Any]:
    """First word, the words that we know, and the body, JSON read."""
    line, _, body = frame.partition(b"\n" if isinstance(frame, bytes) else "\n")  # type: ignore[arg-type]
    first, fields = read_header(line.decode() if isinstance(line, bytes) else line)
    known = {key: value for key, value in fields.items() if key in KNOWN and (key, value) != ("x", "new")}
    is_json = isinstance(body, str) and "x" not in known
    return first.lstrip("0") or "0", known, json.loads(body) if is_json else body


def written(means: dict[str, Any]) -> bytes:
    """What the server writes for what a vector means."""
    if "name" in means:
        event = VERSION1.control(means["name"], means["fields"])
        assert event is not None
        return event
    if "binary" in means:
        kind, payload = Kind.BINARY, bytes.fromhex(means["binary"])
    elif means.get("is_text"):
        kind, payload = Kind.TEXT, means["data"].encode()
    else:
        kind, payload = Kind.JSON, json.dumps(means["data"]).encode()
    message = Message(kind, payload, Options(means.get("latest", "")))
    if "reply" in means:
        return VERSION1.reply(message, means["reply"])
    return VERSION1.message(message, means.get("offset"), means.get("topic"))


@pytest.mark.parametrize(
    "vector", [one for one in VECTORS["from_server"] if one["means"] and not one.get("ignored")], ids=name_of
)
def test_what_the_server_writes(vector: dict[str, Any]) -> None:
    """
    For what a frame of the vectors means the server writes that frame, but for what only a newer one would.
    """
    frame = frame_of(vector)
    means = {**vector["means"], "is_text": isinstance(frame, str) and "x=text" in frame.partition("\n")[0]}

    assert split(frame) == split(sent(written(means)))


@pytest.mark.parametrize("vector", VECTORS["from_client"], ids=name_of)
def test_what_a_client_writes(vector: dict[str, Any]) -> None:
    """
    Each frame is read as the vectors say, or refused with words for the client.
    """
    if vector.get("error"):
        with pytest.raises(SocketError):
            VERSION1.read(frame_of(vector))
        return
    inbound, means = VERSION1.read(frame_of(vector)), vector["means"]

    assert means.get("name") == inbound.control
    assert means.get("request") == inbound.request
    assert means.get("wants_reply", False) == inbound.wants_reply
    if "name" in means:
        assert means["fields"] == inbound.fields
    else:
        payload = bytes.fromhex(means["binary"]) if "binary" in means else means["payload"]
        assert payload == inbound.payload


@pytest.mark.parametrize(
    ("message", "offset", "topic", "frame"),
    [
        (Message(Kind.JSON, b"1"), 17, None, "17\n1"),
        (Message(Kind.JSON, b"1"), None, None, "-\n1"),
        (Message(Kind.TEXT, b"1"), 17, "room:7", "17 t=room:7 x=text\n1"),
        (Message(Kind.TEXT, "two\nlines ü".encode()), None, "*", "- t=* x=text\ntwo\nlines ü"),
        (Message(Kind.BINARY, b"\n\x00"), 17, "50%", b"17 t=50%25\n\n\x00"),
        (Message(Kind.JSON, b"1", Options("typing:ada")), None, "room:7", "- t=room:7 k=typing:ada\n1"),
        (Message(Kind.JSON, b"1", Options(but="c1", user="alice")), 17, "room:7", "17 t=room:7\n1"),
        (Message(Kind.JOB, b'{"job":{}}'), None, None, '!job\n{"job":{}}'),
        (Message(Kind.PROGRESS, b'{"job":{}}'), None, None, '!job\n{"job":{}}'),
        (Message(Kind.CHUNK, b'{"chunk":{}}'), None, None, '!chunk\n{"chunk":{}}'),
    ],
    ids=ascii,
)
def test_a_message_to_the_byte(message: Message, offset: int | None, topic: str | None, frame: str | bytes) -> None:
    """
    A header and the payload as it is; whom it leaves out is nobody's business, and jobs are told by name.
    """
    assert frame == sent(VERSION1.message(message, offset, topic))


def test_an_answer_and_an_error() -> None:
    """
    Both carry the request's id; without one a reply tells this client alone something, and an error is no request's.
    """
    assert "- r=12\nnull" == sent(VERSION1.reply(Message(Kind.JSON, b"null"), "12"))
    assert "- r=a%20b x=text\nhi" == sent(VERSION1.reply(Message(Kind.TEXT, b"hi"), "a b"))
    assert b"-\n\x00" == sent(VERSION1.reply(Message(Kind.BINARY, b"\x00"), None))
    assert '!error\n{"error":"no","request":"12"}' == sent(VERSION1.error("no", "12", is_temporary=False))
    assert '!error\n{"error":"no","request":null}' == sent(VERSION1.error("no", None, is_temporary=False))
    assert '!error\n{"error":"no","request":"12","temporary":true}' == sent(
        VERSION1.error("no", "12", is_temporary=True)
    )


def test_the_plain_protocol_is_what_was_sent() -> None:
    """
    Without header and control: offsets, topics and names of requests have no place in it; what comes is taken as it is.
    """
    assert '{"a":1}' == sent(PLAIN.message(Message(Kind.JSON, b'{"a":1}', Options("x")), 17, "room:7"))
    assert b"\x00" == sent(PLAIN.message(Message(Kind.BINARY, b"\x00"), None, None))
    assert "hi" == sent(PLAIN.reply(Message(Kind.TEXT, b"hi"), "12"))
    assert '{"error":"no"}' == sent(PLAIN.error("no", "12", is_temporary=True))
    assert PLAIN.control("ready", {}) is None
    assert [Inbound(frame) for frame in ("12 want=reply\n1", "!join\n{}", b"\x00")] == [
        PLAIN.read(frame) for frame in ("12 want=reply\n1", "!join\n{}", b"\x00")
    ]


def test_what_a_client_speaks() -> None:
    """
    Ours if it offers it, unless the application has chosen another for it.
    """
    assert VERSION1 is wire_for([VERSION_1]) is wire_for(["other", VERSION_1]) is wire_for([VERSION_1], VERSION_1)
    assert PLAIN is wire_for([]) is wire_for(["other"]) is wire_for(["other", VERSION_1], "other")
    assert (VERSION_1, None) == (VERSION1.subprotocol, PLAIN.subprotocol)


@pytest.mark.parametrize(
    "frame",
    [
        "x" * (MAX_REQUEST_ID + 1) + "\n1",
        "x" * (MAX_HEADER + 1) + "\n1",
        "12 k=" + "x" * MAX_HEADER + "\n1",
        b"x" * 100_000,
        "!join\n" + json.dumps({"topic": "x" * MAX_CONTROL}),
        "!join\n{",
        "!join\nnull",
        '!join\n{"a":NaN}',
        "!join\n" + "[" * 100,
        b"!join\n\xff",
        "- want=reply\n1",
    ],
    ids=lambda frame: ascii(frame[:20]),
)
def test_what_is_no_frame_is_refused(frame: str | bytes) -> None:
    """
    A client hears what is wrong, in a text that quotes nothing of any length.
    """
    with pytest.raises(SocketError) as refusal:
        VERSION1.read(frame)

    assert len(str(refusal.value)) < 200


def test_a_token_that_is_renewed_may_be_long() -> None:
    """
    What a hello may carry, an `!auth` may as well: the longest token that `qrsocket.jwt` takes.
    """
    token = "x" * MAX_TOKEN_BYTES

    assert token == VERSION1.read("!auth\n" + json.dumps({"auth": {"token": token}})).fields["auth"]["token"]
    with pytest.raises(SocketError, match="!auth: at most"):
        VERSION1.read("!auth\n" + json.dumps({"auth": "x" * MAX_AUTH}))


@pytest.mark.parametrize("request_id", [None, 3, "", "x" * (MAX_REQUEST_ID + 1), ["3"]])
def test_a_request_id_of_a_control_frame(request_id: object) -> None:
    """
    Only a text of at most 64 characters is one; the frame is read all the same, and what it answers carries none.
    """
    inbound = VERSION1.read("!join\n" + json.dumps({"topic": "a", "request": request_id}))

    assert (request_id if request_id == "" else None) == inbound.request
    assert "join" == inbound.control


# The hello.

EPOCH = {"epoch": "e", "offset": 3}


def hello(**fields: Any) -> Hello | None:
    return read_hello("!hello\n" + json.dumps(fields), max_depth=32)


def test_a_hello_says_where_the_client_was() -> None:
    """
    In what is sent to its user, and in each topic; whose connection it was, and who it is.
    """
    read = hello(**EPOCH, topics={"room:7": EPOCH, "*": EPOCH}, connection="c1", auth={"token": "t"}, zz="new")

    assert read is not None
    assert ("e", 3) == read.since == read.topics["room:7"] == read.topics["*"]
    assert ({"room:7", "*"}, "c1", {"token": "t"}) == (set(read.topics), read.connection, read.auth)


@pytest.mark.parametrize(
    "fields", [{}, {"epoch": None, "offset": None}, {"topics": None}, {"topics": {}}, {"connection": 7, "auth": None}]
)
def test_a_first_hello(fields: dict[str, Any]) -> None:
    """
    Who has been nowhere says so, or leaves it out.
    """
    assert Hello() == hello(**fields)


@pytest.mark.parametrize("frame", ["-\n1", "12\n{}", "!hellos\n{}", "!ping\n{}", "hello", "", b"!hello\n{}", b"\x00"])
def test_a_first_frame_that_is_no_hello(frame: str | bytes) -> None:
    """
    It is a message already.
    """
    assert read_hello(frame, max_depth=32) is None


@pytest.mark.parametrize("header", ["!hello", "!hello v=2", "!hello new"])
def test_words_behind_hello_are_read_past(header: str) -> None:
    """
    As in every header, a newer client may say more.
    """
    assert Hello() == read_hello(header + "\n{}", max_depth=32)


@pytest.mark.parametrize(
    "fields",
    [
        {"epoch": "e"},
        {"offset": 3},
        {"epoch": "e", "offset": -1},
        {"epoch": "e", "offset": MAX_OFFSET + 1},
        {"epoch": "e", "offset": 1.5},
        {"epoch": "e", "offset": True},
        {"epoch": "e", "offset": "3"},
        {"epoch": "", "offset": 3},
        {"epoch": "x" * 65, "offset": 3},
        {"epoch": 7, "offset": 3},
        {"epoch": None, "offset": 3},
        {"topics": ["room:7"]},
        {"topics": {"a b": EPOCH}},
        {"topics": {"": EPOCH}},
        {"topics": {"room:7": 3}},
        {"topics": {"room:7": {"epoch": "e"}}},
        {"topics": {f"room:{number}": EPOCH for number in range(MAX_TOPICS + 2)}},
    ],
    ids=lambda fields: ascii(fields)[:60],
)
def test_a_hello_that_is_none(fields: dict[str, Any]) -> None:
    """
    Positions that we did not give, names that are none and more topics than one may join are refused.
    """
    with pytest.raises(SocketError, match=r"^!hello: "):
        hello(**fields)


@pytest.mark.parametrize("body", ["", "{", "[]", "null", "[" * 40])
def test_a_hello_that_is_no_object(body: str) -> None:
    """
    Its body is a JSON object.
    """
    with pytest.raises(SocketError, match=r"^!hello: "):
        read_hello("!hello\n" + body, max_depth=32)


def test_as_many_topics_as_one_may_join() -> None:
    """
    And the one of everyone.
    """
    topics = {f"room:{number}": EPOCH for number in range(MAX_TOPICS)} | {"*": EPOCH}
    read = hello(topics=topics)

    assert read is not None
    assert set(topics) == set(read.topics)


def test_a_position_of_another_frame() -> None:
    """
    What is wrong with a position is said under the name of the frame that it came in.
    """
    assert ("e", MAX_OFFSET) == read_position("!join", {"epoch": "e", "offset": MAX_OFFSET})
    assert read_position("!join", {}) is None
    with pytest.raises(SocketError, match=r"^!join: epoch and offset"):
        read_position("!join", [])


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({}, "{}"),
        ({"topic": "room"}, '{"topic":"room"}'),
        ({"members": Json(b'["ada"]')}, '{"members":["ada"]}'),
        (
            {"topics": {"room": {"members": Json(b"[]"), "offset": 7}}, "n": 1},
            '{"topics":{"room":{"members":[],"offset":7}},"n":1}',
        ),
    ],
)
def test_what_is_json_already(fields: dict[str, Any], body: str) -> None:
    """
    A value that was written for many is written as it is, at any depth.
    """
    frame = VERSION1.control("join", fields)

    assert frame is not None
    assert f"!join\n{body}" == event_of(frame)["text"]
