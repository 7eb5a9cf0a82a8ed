"""What becomes of a message on a node is in the log at DEBUG, for each connection that it is for."""

import asyncio
import logging

import pytest

from qrsocket.errors import CloseCode
from qrsocket.fanout.publish import Envelope
from qrsocket.message import Kind, Message, Options
from qrsocket.server import hops
from qrsocket.server.outbox import Outbox
from qrsocket.server.wire import PLAIN
from qrsocket.settings import Settings
from tests.core.scene import Scene, page
from tests.core.test_outgoing import Client
from tests.core.test_relay import NODE, Relayed, envelope, heartbeat

ROOM = "t:room"
DROPPED = "message dropped: it is closing, or it reads too slowly, or has not begun, for what is not kept"
READ = "message read from the stream: it came late, or something before it was missed"


@pytest.fixture(autouse=True)
def _detailed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "qrsocket")


@pytest.fixture
def scene() -> Scene:
    return Scene()


def deliver(scene: Scene, message: Message, offset: int | None, *, id: str = "m:1", epoch: str = "e") -> None:
    hops.deliver(scene.hub, Envelope(1, epoch, id, ((ROOM, offset),), message), "web1")


def fates(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return what became of it for whom, and forget that."""
    found = [
        (vars(record)["connection"], record.getMessage().partition(" (")[0])
        for record in caplog.records
        if record.name == hops.__name__ and "connection" in vars(record)
    ]
    caplog.clear()
    return found


def text(words: str = "hi", **options: str) -> Message:
    return Message(Kind.TEXT, words.encode(), Options(**options)) if options else Message(Kind.TEXT, words.encode())


async def test_a_message_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    """
    That it has come, and that it was written, with its id, its stream and its offset. A heartbeat is no message.
    """
    relayed = Relayed()
    relayed.ada.begin(lambda _frames: None)
    await relayed.read([(NODE, envelope(1, 11)), (NODE, heartbeat(1))])

    came, written = [record for record in caplog.records if record.name == hops.__name__]
    assert "message came to this node (message_id m1, node node, streams u:ada, number 1)" == came.getMessage()
    assert (
        "message written (message_id m1, node node, connection c1, user ada, stream u:ada, offset 11)"
        == written.getMessage()
    )


async def test_nothing_is_kept_where_nobody_looks(caplog: pytest.LogCaptureFixture) -> None:
    """
    Without DEBUG there is no line.
    """
    caplog.set_level(logging.INFO, "qrsocket")
    relayed = Relayed()
    await relayed.read([(NODE, envelope(1, 11))])

    assert [] == caplog.records


async def test_a_client_that_reads_slowly(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """
    What waits for it is said to wait; what is not kept is dropped once there is no room, but for the newest of a kind.
    """
    scene.settings = Settings(max_queued_messages=2)
    ada = scene.connect("c1")
    scene.join(ada, ROOM)
    deliver(scene, text(), 11)
    assert [("c1", "message waits: its client reads slowly")] == fates(caplog)

    deliver(scene, text(), 12)
    caplog.clear()
    deliver(scene, text(), None)
    deliver(scene, text(latest="cursor"), None)
    deliver(scene, text(), 13)
    assert [
        ("c1", DROPPED),
        ("c1", "message waits: its client reads slowly"),
        ("c1", "message waits: its client reads slowly"),
    ] == fates(caplog)
    assert CloseCode.SLOW_CONSUMER == (ada.closing or (0,))[0]

    deliver(scene, text(), 14)
    assert [("c1", DROPPED)] == fates(caplog)


async def test_who_is_left_out(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """
    The connection that a message is not for is named.
    """
    for id in ("c1", "c2"):
        scene.join(scene.connect(id), ROOM)
    deliver(scene, text(but="c1", user="ada"), 11)

    assert [
        ("c2", "message waits: its client reads slowly"),
        ("c1", "message left out: it is not for this connection"),
    ] == fates(caplog)


async def test_who_is_behind(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """
    It is said that messages were missed; that one waits in the stream, or was read from there before; and what is read.
    """
    ada = scene.connect("c1", wire=PLAIN)
    subscription = scene.join(ada, ROOM)
    deliver(scene, text(), 13)
    assert ["behind: messages were missed (stream t:room, offset 13, connections 1)"] == [
        message for message in caplog.messages if message.startswith("behind")
    ]
    assert [("c1", READ)] == fates(caplog)

    deliver(scene, text(), 12)
    assert [("c1", READ)] == fates(caplog)

    scene.hub.take_page(subscription, page(13, 11, 12, 13), None)
    assert [
        "messages read from the stream (connection c1, user ada, stream t:room, offset 13, messages 3)"
    ] == caplog.messages
    caplog.clear()
    deliver(scene, text(), 12)
    assert [("c1", READ)] == fates(caplog)


async def test_who_has_not_begun(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """
    A message that is not kept is not for it; one that is kept it reads when it begins.
    """
    scene.hub.subscribe(scene.connect("c1"), ROOM)
    deliver(scene, text(), None)
    assert [("c1", DROPPED)] == fates(caplog)

    deliver(scene, text(), 11)
    assert [("c1", READ)] == fates(caplog)


async def test_orders_and_jobs(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """
    An order is given, not written. What is about a job has the job's id, and what is about members none.
    """
    scene.join(scene.connect("c1"), ROOM)
    deliver(scene, Message(Kind.JOIN, b"other"), 11)
    assert [("c1", "order given")] == fates(caplog)

    deliver(scene, Message(Kind.JOB, b'{"job":{}}'), 12, id="job1")
    deliver(scene, Message(Kind.MEMBERS, b"{}"), 12, id="")
    assert [
        "job state came to this node (job job1, node web1, streams t:room)",
        "members came to this node (node web1, streams t:room)",
    ] == caplog.messages


async def test_a_stream_that_nobody_here_has(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """
    That it came is all.
    """
    deliver(scene, text(), 11)

    assert ["message came to this node (message_id m:1, node web1, streams t:room, number 1)"] == caplog.messages


async def test_what_waited_is_written(caplog: pytest.LogCaptureFixture) -> None:
    """
    When its client reads again.
    """
    outbox = Outbox()
    client = Client(outbox)
    client.begin(client.write)
    client.pause()
    client.offer(b"1")
    client.offer(b"2")
    await asyncio.sleep(0)
    client.resume()
    client.pause()
    client.resume()

    assert ["what waited is written (messages 2)"] == caplog.messages
