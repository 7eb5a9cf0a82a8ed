"""What becomes of a message at a node, as those who observe each message are told."""

from types import SimpleNamespace

import pytest

from qrsocket import events
from qrsocket.events import Offered
from qrsocket.message import Kind, Message, Options
from tests.core.scene import Scene

ROOM = "t:room"
HI = Message(Kind.TEXT, b"hi")


@pytest.fixture
def scene() -> Scene:
    return Scene()


def offered(scene: Scene, offset: int | None, message: Message = HI) -> Offered:
    seen: list[Offered] = []
    with events.observed(SimpleNamespace(on_event=seen.append), messages=True):
        scene.send(ROOM, offset, message)
    (offer,) = [event for event in seen if isinstance(event, Offered)]
    return offer


@pytest.mark.parametrize("offset", [11, None], ids=["kept", "not kept"])
def test_each_connection_has_its_place(scene: Scene, offset: int | None) -> None:
    """
    A client that takes it, one that does not read, one that is closing, and one that it is not meant for.
    """
    takes, reads_not, closes, sender = [scene.connect(f"c{number}") for number in range(4)]
    for connection in (takes, reads_not, closes, sender):
        scene.join(connection, ROOM)
    takes.begin(lambda _frames: None)
    closes.closing = (1000, "")
    offer = offered(scene, offset, Message(Kind.TEXT, b"hi", Options(but="c3", user="ada")))

    assert ("text", ROOM, offset) == (offer.kind, offer.stream, offer.offset)
    assert (("c0",), ("c1",), ("c2",), ("c3",), ()) == (
        offer.written,
        offer.waiting,
        offer.dropped,
        offer.left_out,
        offer.behind,
    )


def test_who_is_behind_reads_it(scene: Scene) -> None:
    """
    Those that have not had the one before, and all of them if it does not follow.
    """
    ada, bob = scene.connect("c1"), scene.connect("c2", "bob")
    scene.join(ada, ROOM)
    scene.send(ROOM, 12)
    scene.caught_up()
    scene.join(bob, ROOM, 12)
    ada.begin(lambda _frames: None)
    bob.begin(lambda _frames: None)

    follows = offered(scene, 13)
    assert (("c2",), ("c1",)) == (follows.written, follows.behind)
    follows_not = offered(scene, 15)
    assert ((), {"c1", "c2"}) == (follows_not.written, {*follows_not.behind})


def test_one_that_is_not_kept_is_dropped_for_who_is_slow(scene: Scene) -> None:
    """
    Where so much waits already that there is no room; one that is kept waits, and so does the newest of its kind.
    """
    ada = scene.connect("c1")
    scene.join(ada, ROOM)
    for offset in range(11, 11 + scene.settings.max_queued_messages // 2 + 2):
        scene.send(ROOM, offset)

    assert ("c1",) == offered(scene, None).dropped
    assert ("c1",) == offered(scene, None, Message(Kind.TEXT, b"hi", Options(latest="cursor"))).waiting
    assert ("c1",) == offered(scene, offset + 1).waiting


def test_only_who_asks_is_told_of_each_message(scene: Scene) -> None:
    """
    Other observers are not.
    """
    seen: list[events.Event] = []
    scene.join(scene.connect("c1"), ROOM)
    with events.observed(SimpleNamespace(on_event=seen.append)):
        scene.send(ROOM, 11)

    assert [] == seen
