"""The hub by itself: who gets what, in which order, and what becomes of those who have missed something."""

import json
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from pydantic_core import to_json

from qrsocket import events, spans
from qrsocket.fanout.publish import Envelope
from qrsocket.message import Close, Kind, Message, Options
from qrsocket.position import Entry, Missed, Position
from qrsocket.presence.answers import Members as Read
from qrsocket.server.wire import PLAIN, VERSION1
from qrsocket.settings import Settings
from qrsocket.streams import EVERYONE
from tests.core.scene import Scene, Stub, at, message, page, words_of

ROOM = "t:room"
ORDER = Message(Kind.JOIN, b"other")


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def new_scene() -> Callable[..., Scene]:
    return lambda **settings: Scene(settings=Settings(**settings))


# Subscriptions.


def test_who_has_begun_gets_what_is_sent(scene: Scene) -> None:
    """
    Each subscription of a stream gets each message once, under its topic and offset; other streams' are not for it.
    """
    ada, bob = scene.connect("c1"), scene.connect("c2", "bob")
    for connection in (ada, bob):
        scene.join(connection, ROOM)
    scene.join(ada, "u:ada", 3)
    scene.send(ROOM, 11)
    scene.send("u:ada", 4)
    scene.send("t:other", 5)

    assert ["11 t=room 11", "4 4"] == ada.told()
    assert ["11 t=room 11"] == bob.told()
    assert [] == scene.behind


def test_one_frame_is_for_all_who_speak_a_protocol(scene: Scene) -> None:
    """
    A message is written once for each protocol, not once for each connection.
    """
    connections = [scene.connect(f"c{number}", wire=PLAIN if number % 2 else VERSION1) for number in range(6)]
    for connection in connections:
        scene.join(connection, ROOM)
    scene.send(ROOM, 11)

    assert 2 == len({id(connection._waiting[0]) for connection in connections})


def test_nothing_comes_before_it_has_begun(scene: Scene) -> None:
    """
    What is sent between the subscription and its beginning comes with the page, or is read after it: none is lost.
    """
    ada = scene.connect("c1")
    subscription = scene.hub.subscribe(ada, ROOM)
    scene.send(ROOM, 11)
    before = ada.told()
    scene.hub.begin(subscription, page(10))
    then = ada.told(), scene.caught_up()
    scene.hub.take_page(subscription, page(11, 11), scene.hub.heard_of(ROOM))

    assert [] == before
    assert ([], [subscription]) == then
    assert ["11 t=room 11"] == ada.told()
    scene.send(ROOM, 12)
    assert ["12 t=room 12"] == ada.told()


def test_who_comes_back_gets_what_it_missed_first(scene: Scene) -> None:
    """
    The page of its registration, then what is sent.
    """
    ada = scene.connect("c1")
    scene.join(ada, ROOM, 12, missed=(11, 12))
    scene.send(ROOM, 13)

    assert [f"{offset} t=room {offset}" for offset in (11, 12, 13)] == ada.told()


def test_who_comes_later_knows_more_than_the_others(scene: Scene) -> None:
    """
    A page that is newer than what this node has heard of shows that the others have missed something: they read it.
    """
    ada, bob = scene.connect("c1"), scene.connect("c2", "bob")
    first = scene.join(ada, ROOM, 10)
    scene.join(bob, ROOM, 12)

    assert [first] == scene.caught_up()
    scene.hub.take_page(first, page(12, 11, 12), scene.hub.heard_of(ROOM))
    scene.send(ROOM, 13)
    assert ["11 t=room 11", "12 t=room 12", "13 t=room 13"] == ada.told()
    assert ["13 t=room 13"] == bob.told()


def test_who_has_gone_gets_nothing(scene: Scene) -> None:
    """
    After a subscription has ended nothing of it comes, neither from a page that was read meanwhile nor from a frame.
    """
    ada = scene.connect("c1")
    subscription = scene.hub.subscribe(ada, ROOM)
    scene.join(ada, "u:ada")

    assert (ROOM,) == scene.hub.unsubscribe(ada, ROOM)
    scene.hub.begin(subscription, page(11, 11))
    scene.hub.take_page(subscription, page(12, 12), None)
    scene.send(ROOM, 13)
    assert [] == ada.told()
    assert () == scene.hub.unsubscribe(ada, ROOM)
    assert not scene.hub.is_behind(subscription)


def test_an_old_page_is_not_for_a_new_subscription(scene: Scene) -> None:
    """
    Who leaves and joins again begins with the answer to that, not with one to the time before.
    """
    ada = scene.connect("c1")
    first = scene.hub.subscribe(ada, ROOM)
    scene.hub.unsubscribe(ada, ROOM)
    second = scene.hub.subscribe(ada, ROOM)
    scene.hub.begin(first, page(11, 11))

    assert [] == ada.told()
    scene.hub.begin(second, page(12))
    scene.send(ROOM, 13)
    assert ["13 t=room 13"] == ada.told()


def test_a_connection_that_goes_gives_up_all(scene: Scene) -> None:
    """
    Its streams are returned once, the parts in topics with them, for Redis to be told; to remove it again is nothing.
    """
    ada, other = scene.connect("c1"), scene.connect("c2")
    for stream in ("c:c1", EVERYONE, "u:ada", ROOM):
        scene.join(ada, stream, members=stream == ROOM)
    scene.join(other, "u:ada")
    gone = scene.hub.remove(ada)

    assert {"c:c1", EVERYONE, "u:ada", ROOM, "m:room ada"} == set(gone)
    assert len(gone) == len(set(gone))
    assert () == scene.hub.remove(ada)
    assert (1, ("u:ada",)) == (len(scene.hub), scene.hub.streams)
    assert [0, 0, 1, 0, 0] == [scene.hub.count(one) for one in ("c:c1", EVERYONE, "u:ada", ROOM, "m:room ada")]


def test_subscriptions_are_counted(scene: Scene) -> None:
    """
    Of a stream, all, begun or not; of a user's part in a topic, the connections with which he has joined.
    """
    one, two = scene.connect("c1"), scene.connect("c2")
    nobody = scene.connect("c3", None)
    for connection in (one, two, nobody):
        scene.hub.subscribe(connection, ROOM, members=True)

    assert (3, 2) == (scene.hub.count(ROOM), scene.hub.count("m:room ada"))
    assert {ROOM, "m:room ada"} == set(scene.hub.streams)
    assert (ROOM, "m:room ada") == scene.hub.unsubscribe(one, ROOM)
    assert (2, 1) == (scene.hub.count(ROOM), scene.hub.count("m:room ada"))


def test_a_user_who_becomes_known_is_a_member(scene: Scene) -> None:
    """
    Of topics that tell who has joined, once; of others never.
    """
    one = scene.connect("c1", None)
    room, other = scene.hub.subscribe(one, ROOM, members=True), scene.hub.subscribe(one, "t:other")
    before = scene.hub.add_member(room)
    one.user = "ada"

    assert before is None
    assert ["m:room ada", None, None] == [scene.hub.add_member(part) for part in (room, room, other)]
    assert 1 == scene.hub.count("m:room ada")
    assert (ROOM, "m:room ada") == scene.hub.unsubscribe(one, ROOM)


# What was missed.


def test_a_message_that_was_missed(scene: Scene) -> None:
    """
    A frame that does not follow the last makes all that were up to date read from where they were; it is not given to
    them out of order.
    """
    connections = [scene.connect(f"c{number}") for number in range(3)]
    subscriptions = [scene.join(connection, ROOM) for connection in connections]
    scene.send(ROOM, 12)

    assert subscriptions == scene.caught_up()
    assert [at(10)] * 3 == [subscription.position for subscription in subscriptions]
    assert [True] * 3 == [scene.hub.is_behind(subscription) for subscription in subscriptions]
    for subscription in subscriptions:
        scene.hub.take_page(subscription, page(12, 11, 12), at(12))
    scene.send(ROOM, 13)
    assert [["11 t=room 11", "12 t=room 12", "13 t=room 13"]] * 3 == [one.told() for one in connections]
    assert [False] * 3 == [scene.hub.is_behind(subscription) for subscription in subscriptions]


def test_observers_are_told_who_is_behind_and_who_has_read(scene: Scene) -> None:
    """
    All that fall behind together in one event, and each page of each; an empty page is none.
    """
    seen: list[events.Event] = []
    subscriptions = [scene.join(scene.connect(f"c{number}"), ROOM) for number in range(2)]
    with events.observed(SimpleNamespace(on_event=seen.append)):
        scene.send(ROOM, 13)
        scene.hub.take_page(subscriptions[0], page(13, 11, 12, reached=12), at(13))
        scene.hub.take_page(subscriptions[0], page(13, 13), at(13))
        scene.hub.take_page(subscriptions[1], page(13, reached=13), at(13))

    assert [
        events.Behind(ROOM, ("c0", "c1")),
        events.Recovered("c0", "ada", ROOM, 2, 11, 12, False),
        events.Recovered("c0", "ada", ROOM, 1, 13, 13, True),
    ] == seen


def test_what_is_sent_meanwhile_is_read_too(scene: Scene) -> None:
    """
    Who is behind gets nothing by frame; when its page does not reach the newest that is known, it reads on.
    """
    ada = scene.connect("c1")
    subscription = scene.join(ada, ROOM)
    scene.send(ROOM, 12)
    scene.send(ROOM, 13)
    scene.caught_up()
    scene.hub.take_page(subscription, page(12, 11, 12), at(12))

    assert [subscription] == scene.caught_up()
    scene.hub.take_page(subscription, page(13, 13), at(13))
    assert [f"{offset} t=room {offset}" for offset in (11, 12, 13)] == ada.told()
    assert [] == scene.caught_up()


def test_a_message_that_was_read_already(scene: Scene) -> None:
    """
    A frame that comes after its message was read from the stream is not given a second time.
    """
    ada = scene.connect("c1")
    scene.join(ada, ROOM, 12, missed=(11, 12))
    for offset in (11, 12, 13):
        scene.send(ROOM, offset)

    assert [f"{offset} t=room {offset}" for offset in (11, 12, 13)] == ada.told()


def test_what_the_stream_says_is_heard_of(scene: Scene) -> None:
    """
    A comparison with Redis, or another's registration, that knows of a newer message makes them read; one that knows
    the same, or less, does nothing.
    """
    subscription = scene.join(scene.connect("c1"), ROOM)
    for known in (9, 10):
        scene.hub.heard(ROOM, at(known))
    before = scene.caught_up()
    scene.hub.heard(ROOM, at(11))

    assert ([], [subscription]) == (before, scene.caught_up())
    assert at(11) == scene.hub.heard_of(ROOM)


def test_another_life_of_redis(scene: Scene) -> None:
    """
    A message of another epoch never follows: they read, and a page of that epoch brings them up to date.
    """
    ada = scene.connect("c1")
    subscription = scene.join(ada, ROOM)
    scene.send(ROOM, 11, epoch="new")

    assert [subscription] == scene.caught_up()
    assert [] == ada.told()
    scene.hub.take_page(subscription, page(11, 11, is_whole=False, epoch="new"), at(11, "new"))
    assert ['!gap {"topic":"room","epoch":"new","offset":10}', "11 t=room 11"] == ada.told()
    scene.send(ROOM, 12, epoch="new")
    assert ["12 t=room 12"] == ada.told()


def test_a_forged_offset(scene: Scene) -> None:
    """
    A frame with an offset that the stream does not have makes nobody read in vain for ever: when a page ends before
    it, and nothing else was heard of meanwhile, the stream is right.
    """
    ada = scene.connect("c1")
    subscription = scene.join(ada, ROOM)
    scene.send(ROOM, 10_000)
    scene.caught_up()
    scene.hub.take_page(subscription, page(10), at(10_000))

    assert [] == scene.caught_up()
    scene.send(ROOM, 11)
    assert ["11 t=room 11"] == ada.told()


def test_a_page_that_is_only_old(scene: Scene) -> None:
    """
    A page that was read before a message came ends before it, too: it is read again, and that message is not lost.
    """
    ada = scene.connect("c1")
    subscription = scene.join(ada, ROOM)
    scene.send(ROOM, 12)
    heard = scene.hub.heard_of(ROOM)
    scene.send(ROOM, 13)
    scene.caught_up()
    scene.hub.take_page(subscription, page(11, 11), heard)

    assert [subscription] == scene.caught_up()
    assert at(13) == scene.hub.heard_of(ROOM)


@pytest.mark.parametrize(
    ("stream", "gap"),
    [
        (ROOM, '!gap {"topic":"room","epoch":"e","offset":15}'),
        (EVERYONE, '!gap {"topic":"*","epoch":"e","offset":15}'),
        ("u:ada", '!gap {"epoch":"e","offset":15}'),
    ],
)
def test_a_gap_is_told_with_its_stream(scene: Scene, stream: str, gap: str) -> None:
    """
    What is no longer kept is a gap, told before the messages that follow it: of a topic by its name, of the user
    without.
    """
    ada = scene.connect("c1")
    subscription = scene.join(ada, stream)
    scene.send(stream, 17)
    scene.hub.take_page(subscription, page(17, 16, 17, is_whole=False), at(17))

    first, *rest = ada.told()
    assert gap == first
    assert ["16", "17"] == [words.split()[-1] for words in rest]
    assert ada.closing is None


def test_a_gap_in_what_is_not_counted(scene: Scene) -> None:
    """
    What was sent to the connection alone, once there is a user, is not counted, and no gap in it is told.
    """
    ada = scene.connect("c1")
    subscription = scene.join(ada, "c:c1")
    scene.send("c:c1", 17)
    scene.hub.take_page(subscription, page(17, 16, 17, is_whole=False), at(17))

    assert ["- 16", "- 17"] == ada.told()
    assert ada.closing is None


@pytest.mark.parametrize(("epoch", "is_closed"), [("e", True), ("new", False)])
def test_a_gap_that_cannot_be_told(scene: Scene, epoch: str, is_closed: bool) -> None:
    """
    The plain protocol has no words for it: the connection is closed with 4004; not when Redis has another life, since
    then perhaps nothing is missing, and everybody would come back at once.
    """
    ada = scene.connect("c1", wire=PLAIN)
    subscription = scene.join(ada, "u:ada")
    scene.send("u:ada", 17, epoch=epoch)
    scene.hub.take_page(subscription, page(17, 17, is_whole=False, epoch=epoch), at(17, epoch))

    assert ((4004, "messages were lost") if is_closed else None) == ada.closing


def test_a_slow_client_reads_from_the_stream(new_scene: Callable[..., Scene]) -> None:
    """
    Who has much waiting stays behind after a page, and is live when there is room.
    """
    scene = new_scene(max_queued_messages=4)
    ada = scene.connect("c1")
    subscription = scene.join(ada, ROOM)
    scene.send(ROOM, 13)
    scene.caught_up()
    scene.hub.take_page(subscription, page(13, 11, 12, 13), at(13))

    assert [subscription] == scene.caught_up()
    ada.take()
    scene.hub.take_page(subscription, page(13), at(13))
    assert ([], False) == (scene.caught_up(), scene.hub.is_behind(subscription))


def test_a_client_that_is_too_slow_is_closed(new_scene: Callable[..., Scene]) -> None:
    """
    By the message that is one too many; the others of the stream get it, and the next.
    """
    scene = new_scene(max_queued_messages=2)
    slow, fast = scene.connect("c1"), scene.connect("c2")
    for connection in (slow, fast):
        scene.join(connection, ROOM)
    for offset in range(11, 15):
        scene.send(ROOM, offset)
        fast.take()

    assert slow.closing is not None
    assert 4000 == slow.closing[0]
    assert 4 == len(fast.told())


def test_a_connection_that_is_closing_is_not_behind(scene: Scene) -> None:
    """
    Nobody reads for it.
    """
    ada = scene.connect("c1")
    subscription = scene.join(ada, ROOM)
    scene.send(ROOM, 12)
    ada.close(1000)

    assert not scene.hub.is_behind(subscription)
    scene.hub.take_page(subscription, page(12, 11, 12), at(12))
    assert [] == ada.told()


# What is not kept.


def test_what_is_not_kept_has_no_offset(scene: Scene) -> None:
    """
    It comes to all that have begun, also to those that are behind, changes no position, and is of no concern to who
    has not begun.
    """
    live, behind, new = (scene.connect(f"c{number}") for number in range(3))
    scene.join(live, ROOM)
    subscription = scene.join(behind, ROOM)
    scene.hub.subscribe(new, ROOM)
    scene.hub._feeds[ROOM].behind["c1"] = scene.hub._feeds[ROOM].live.pop("c1")
    subscription.position = at(9)
    scene.send(ROOM, None)

    assert [["- t=room 0"], ["- t=room 0"], []] == [one.told() for one in (live, behind, new)]
    assert at(10) == scene.hub.heard_of(ROOM)


def test_of_a_name_the_newest_counts(scene: Scene) -> None:
    """
    Of what waits under one name of a stream only the newest is written, after all else that waits.
    """
    ada = scene.connect("c1")
    scene.join(ada, ROOM)
    scene.join(ada, "t:other")
    for number in range(3):
        for stream, name in ((ROOM, "x"), (ROOM, "y"), ("t:other", "x")):
            scene.send(stream, None, message(number, Options(name)))
    scene.send(ROOM, 11)

    assert ["11 t=room 11", "- t=room k=x 2", "- t=room k=y 2", "- t=other k=x 2"] == ada.told()


def test_a_slow_client_does_without(new_scene: Callable[..., Scene]) -> None:
    """
    What is not kept is not for who is too slow for all that it is sent; it does not close it.
    """
    scene = new_scene(max_queued_messages=4)
    ada = scene.connect("c1")
    scene.join(ada, ROOM)
    for _ in range(10):
        scene.send(ROOM, None)

    assert ada.closing is None
    assert 3 == len(ada.told())


# Whom it is for.


@pytest.mark.parametrize("offset", [11, None], ids=["kept", "not kept"])
@pytest.mark.parametrize(
    ("options", "gets"),
    [
        (Options(), ["c1", "c2", "c3", "c4"]),
        (Options(but="c1", user="ada"), ["c2", "c3", "c4"]),
        (Options(but="c1", user="bob"), ["c1", "c2", "c3", "c4"]),
        (Options(but="c4"), ["c1", "c2", "c3"]),
        (Options(but="c1"), ["c1", "c2", "c3", "c4"]),
        (Options(but="gone", user="ada"), ["c1", "c3", "c4"]),
        (Options(but="gone", user="bob"), ["c1", "c2", "c3", "c4"]),
        (Options(user="ada"), ["c1", "c2"]),
    ],
    ids=str,
)
def test_who_is_left_out(scene: Scene, offset: int | None, options: Options, gets: list[str]) -> None:
    """
    A connection is left out by its id, or by that of the one which it has come back from, and only if it is the user's
    who asks for that; a message for one user's connections is for no other.
    """
    connections = {
        id: scene.connect(id, user) for id, user in (("c1", "ada"), ("c2", "ada"), ("c3", "bob"), ("c4", None))
    }
    connections["c2"].former = "gone"
    for connection in connections.values():
        scene.join(connection, ROOM)
    scene.send(ROOM, offset, message(11, options))

    assert gets == [id for id, connection in connections.items() if connection.told()]
    scene.send(ROOM, 12 if offset else 11)
    assert [1] * 4 == [len(connection.told()) for connection in connections.values()]


def test_who_catches_up_is_left_out_as_well(scene: Scene) -> None:
    """
    By the options that were kept with the message; the position goes past it.
    """
    ada = scene.connect("c1")
    subscription = scene.join(ada, ROOM)
    scene.send(ROOM, 12)
    entries = (Entry(11, message(11, Options(but="c1", user="ada"))), Entry(12, message(12)))
    scene.hub.take_page(subscription, Missed(at(12), at(12), True, entries), at(12))

    assert ["12 t=room 12"] == ada.told()
    assert [] == scene.behind[1:]


def test_what_is_sent_to_the_connection_of_a_user(scene: Scene) -> None:
    """
    The client counts what is sent to its user; what comes to the connection alone has no offset there. One without a
    user counts that.
    """
    ada, nobody = scene.connect("c1"), scene.connect("c2", None)
    scene.join(ada, "c:c1")
    scene.join(nobody, "c:c2")
    scene.send("c:c1", 11)
    scene.send("c:c2", 11)

    assert (["- 11"], ["11 11"]) == (ada.told(), nobody.told())


# Orders.


def test_an_order_is_obeyed_and_not_shown(scene: Scene) -> None:
    """
    By every connection of the stream; a close is one, to join and to leave are the session's.
    """
    ada, bob = scene.connect("c1"), scene.connect("c2")
    for connection in (ada, bob):
        scene.join(connection, "u:ada")
    scene.send("u:ada", 11, ORDER)
    scene.send("u:ada", 12, Close(4101, "bye").to_message())

    assert [[ORDER]] * 2 == [one.orders for one in (ada, bob)]
    assert [(4101, "bye")] * 2 == [one.closing for one in (ada, bob)]
    assert [[]] * 2 == [one.told() for one in (ada, bob)]


def test_an_order_from_before_one_came_is_not_for_it(scene: Scene) -> None:
    """
    Orders are for the connections that were open when they were given: in what a client missed while it was away they
    are passed over, and those that its node did not hear of are obeyed.
    """
    ada = scene.connect("c1")
    before = Missed(at(11), at(11), True, (Entry(11, ORDER),))
    subscription = scene.hub.subscribe(ada, "u:ada")
    scene.hub.begin(subscription, before)
    came_back = list(ada.orders)
    scene.send("u:ada", 13)
    scene.hub.take_page(subscription, Missed(at(13), at(13), True, (Entry(12, ORDER), Entry(13, message(13)))), at(13))

    assert ([], [ORDER]) == (came_back, ada.orders)
    assert ["13 13"] == ada.told()


def test_a_connection_that_goes_while_all_are_told(scene: Scene) -> None:
    """
    What is told may end subscriptions of the same stream: the others are told all the same.
    """
    connections = [scene.connect(f"c{number}") for number in range(4)]
    for connection in connections:
        scene.join(connection, "u:ada")
        connection.on_order = lambda _order, connection=connection: scene.hub.remove(connection)  # type: ignore[misc]
    scene.send("u:ada", 11, ORDER)

    assert 0 == len(scene.hub)
    assert () == scene.hub.streams


# Jobs.

JOB = Message(Kind.JOB, b'{"job":{}}')
PROGRESS = Message(Kind.PROGRESS, b'{"job":{"done":1}}')


def of_jobs(scene: Scene, offset: int | None, told: Message = JOB, epoch: str = "e", job: str = "j1") -> None:
    stream = "u:ada" if offset is None else "j:u:ada"
    scene.hub.deliver(Envelope(1, epoch, job, ((stream, offset),), told))


def test_jobs_are_told_and_counted(scene: Scene) -> None:
    """
    A state goes to all connections of the user; as long as none is missed nothing is read.
    """
    ada, bob = scene.connect("c1"), scene.connect("c2", "bob")
    scene.join(ada, "u:ada")
    scene.join(bob, "u:bob")
    scene.hub.states.begin_jobs("u:ada", at(5))
    of_jobs(scene, 6)
    of_jobs(scene, 7)

    assert (['!job {"job":{}}'] * 2, []) == (ada.told(), bob.told())
    assert [] == scene.stale


def test_a_state_that_was_missed(scene: Scene) -> None:
    """
    The next one shows it: the jobs are read anew, and told as a whole.
    """
    ada = scene.connect("c1")
    scene.join(ada, "u:ada")
    scene.hub.states.begin_jobs("u:ada", at(5))
    of_jobs(scene, 7)

    assert ["j:u:ada"] == scene.stale
    assert scene.hub.states.is_stale("j:u:ada")
    scene.hub.states.reread_jobs("j:u:ada", at(7))
    scene.hub.states.take_jobs("u:ada", [{"id": "j1"}])
    assert not scene.hub.states.is_stale("j:u:ada")
    assert ['!job {"job":{}}', '!jobs {"jobs":[{"id":"j1"}]}'] == ada.told()
    scene.hub.states.doubt_jobs("j:u:ada")
    assert scene.hub.states.is_stale("j:u:ada")


@pytest.mark.parametrize("position", [at(6), at(9), at(6, "new")])
def test_a_comparison_that_knows_of_newer_states(scene: Scene, position: Position) -> None:
    """
    Whatever Redis has counted and this node has not was missed, also if it was one alone: to know of it is not to have
    told it.
    """
    scene.join(scene.connect("c1"), "u:ada")
    scene.hub.states.begin_jobs("u:ada", at(5))
    for known in (4, 5):
        scene.hub.heard("j:u:ada", at(known))
    before = list(scene.stale)
    scene.hub.heard("j:u:ada", position)

    assert ([], ["j:u:ada"]) == (before, scene.stale)
    assert scene.hub.states.is_stale("j:u:ada")


def test_states_before_the_jobs_are_read(scene: Scene) -> None:
    """
    A state that comes while the first connection of a user is on its way counts from there, and is not taken back by
    where they were before.
    """
    scene.join(scene.connect("c1"), "u:ada")
    of_jobs(scene, 8)
    scene.hub.states.begin_jobs("u:ada", at(7))
    of_jobs(scene, 9)

    assert [] == scene.stale


def test_progress_is_the_newest(scene: Scene) -> None:
    """
    Of a job's progress that waits only the newest is written; a state of the job is newer than all of it.
    """
    ada = scene.connect("c1")
    scene.join(ada, "u:ada")
    scene.hub.states.begin_jobs("u:ada", at(5))
    for number in range(3):
        of_jobs(scene, None, Message(Kind.PROGRESS, b'{"job":{"done":%d}}' % number))
    of_jobs(scene, None, PROGRESS, job="j2")

    waiting = ada.told()
    of_jobs(scene, None, PROGRESS)
    of_jobs(scene, 6)
    assert ['!job {"job":{"done":2}}', '!job {"job":{"done":1}}'] == waiting
    assert ['!job {"job":{}}'] == ada.told()


# Members.


def of_members(scene: Scene, offset: int, epoch: str = "e", **said: list[str]) -> None:
    changed = Message(Kind.MEMBERS, to_json(said))
    scene.hub.deliver(Envelope(1, epoch, "", (("m:room", offset),), changed))


def listed(version: int, *users: str, is_certain: bool = True, epoch: str = "e") -> Read:
    return Read(at(version, epoch), is_certain, frozenset(users))


def with_members(scene: Scene, *users: str) -> Stub:
    """A connection in a topic whose members are known, as of their 5th change."""
    ada = scene.connect("c1")
    scene.join(ada, ROOM, members=True)
    scene.hub.states.take_members("m:room", listed(5, *users))
    scene.hub.states.tell_members()
    ada.told()
    scene.members_changed = 0
    return ada


def test_who_comes_and_goes_is_told(scene: Scene) -> None:
    """
    To those who have joined and begun, what has come together as one; nobody is told of what changes nothing.
    """
    ada = with_members(scene, "ada")
    new = scene.connect("c2", "new")
    scene.hub.subscribe(new, ROOM, members=True)
    of_members(scene, 6, joined=["bob", "eve"])
    of_members(scene, 7, left=["ada"], joined=["dora"])

    assert 2 == scene.members_changed
    scene.hub.states.tell_members()
    scene.hub.states.tell_members()
    assert ['!members {"topic":"room","joined":["bob","eve","dora"],"left":["ada"]}'] == ada.told()
    assert [] == new.told()
    known = scene.hub.states.members("room")
    assert known is not None
    assert {"bob", "eve", "dora"} == known.users


def test_a_topic_without_members(scene: Scene) -> None:
    """
    Of a topic that does not tell who has joined there is no list, whatever comes.
    """
    ada = scene.connect("c1")
    scene.join(ada, ROOM)
    of_members(scene, 6, joined=["bob"])
    scene.hub.states.take_members("m:room", listed(6, "bob"))
    scene.hub.heard("m:room", at(7))
    scene.hub.states.tell_members()

    assert scene.hub.states.members("room") is None
    assert ([], [], 0) == (ada.told(), scene.stale, scene.members_changed)


@pytest.mark.parametrize(("offset", "epoch"), [(7, "e"), (6, "new")])
def test_a_change_of_members_that_was_missed(scene: Scene, offset: int, epoch: str) -> None:
    """
    The list is read anew, and who is new in it or missing is told.
    """
    ada = with_members(scene, "ada", "bob")
    of_members(scene, offset, epoch, joined=["eve"])

    assert ["m:room"] == scene.stale
    assert scene.hub.states.is_stale("m:room")
    scene.hub.states.take_members("m:room", listed(offset, "ada", "eve", "dora", epoch=epoch))
    scene.hub.states.tell_members()
    assert ['!members {"topic":"room","joined":["dora","eve"],"left":["bob"]}'] == ada.told()
    assert not scene.hub.states.is_stale("m:room")


@pytest.mark.parametrize("position", [at(6), at(9), at(6, "new")])
def test_a_comparison_that_knows_of_newer_members(scene: Scene, position: Position) -> None:
    """
    As of jobs: also when one change alone was missed.
    """
    with_members(scene, "ada")
    scene.hub.heard("m:room", at(5))
    before = list(scene.stale)
    scene.hub.heard("m:room", position)

    assert ([], ["m:room"]) == (before, scene.stale)


def test_a_comparison_before_the_members_are_read(scene: Scene) -> None:
    """
    To know that there was a change is not to know who is there: the list is read all the same.
    """
    scene.join(scene.connect("c1"), ROOM, members=True)
    scene.hub.heard("m:room", at(5))
    known = scene.hub.states.members("room")

    assert known is not None
    assert known.position is None


@pytest.mark.parametrize("is_first", [True, False], ids=["first reading", "later reading"])
def test_a_change_while_members_are_read(scene: Scene, is_first: bool) -> None:
    """
    A change that comes while the list is on its way, and is not in it, is not lost: the list is read once more. One
    that is in it is no reason.
    """
    if is_first:
        scene.join(scene.connect("c1"), ROOM, members=True)
    else:
        with_members(scene, "ada")
        scene.hub.heard("m:room", at(9))
    scene.hub.states.reading_members("m:room")
    of_members(scene, 10, joined=["bob"])
    of_members(scene, 11, joined=["eve"])
    scene.hub.states.take_members("m:room", listed(10, "ada", "bob"))
    between = scene.hub.states.is_stale("m:room")
    scene.hub.states.reading_members("m:room")
    scene.hub.states.take_members("m:room", listed(11, "ada", "bob", "eve"))

    assert (True, False) == (between, scene.hub.states.is_stale("m:room"))
    assert "m:room" in scene.stale


def test_a_forged_change_of_members(scene: Scene) -> None:
    """
    A frame of a change that Redis does not know of costs one more reading, not one after the other for ever.
    """
    with_members(scene, "ada")
    of_members(scene, 10_000, joined=["mallory"])
    scene.hub.states.reading_members("m:room")
    scene.hub.states.take_members("m:room", listed(5, "ada"))

    assert not scene.hub.states.is_stale("m:room")
    of_members(scene, 6, joined=["bob"])
    known = scene.hub.states.members("room")
    assert known is not None
    assert {"ada", "bob"} == known.users


def test_a_list_that_may_be_short_is_read_again(scene: Scene) -> None:
    """
    Shortly after Redis was lost nobody is said to have left, and it stays stale until the list is certain.
    """
    ada = with_members(scene, "ada", "bob")
    scene.hub.states.take_members("m:room", listed(3, "ada", is_certain=False, epoch="new"))
    scene.hub.states.tell_members()

    assert scene.hub.states.is_stale("m:room")
    assert [] == ada.told()
    scene.hub.states.take_members("m:room", listed(4, "ada", epoch="new"))
    scene.hub.states.tell_members()
    assert ['!members {"topic":"room","joined":[],"left":["bob"]}'] == ada.told()


def test_nothing_is_known_of_a_topic_that_was_left(scene: Scene) -> None:
    """
    With the last subscription the list goes; who joins later has it read.
    """
    ada = with_members(scene, "ada")
    scene.hub.unsubscribe(ada, ROOM)
    of_members(scene, 6, joined=["bob"])

    assert scene.hub.states.members("room") is None
    assert () == scene.hub.streams == scene.hub.counted
    scene.hub.states.tell_members()


def test_what_may_be_compared(scene: Scene) -> None:
    """
    All streams of which this node may have missed something, each with what is counted besides.
    """
    with_members(scene, "ada")
    scene.join(scene.connect("c2"), "u:ada")
    scene.hub.states.begin_jobs("u:ada", at(5))
    scene.join(scene.connect("c3", None), "c:c3")

    assert {ROOM, "m:room", "u:ada", "j:u:ada", "c:c3"} == set(scene.hub.counted)


def test_everyone_is_closed(scene: Scene) -> None:
    """
    When the node stops.
    """
    connections = [scene.connect(f"c{number}") for number in range(3)]
    scene.hub.close_all(1012, "the node stops")

    assert [(1012, "the node stops")] * 3 == [connection.closing for connection in connections]
    assert tuple(connections) == scene.hub.connections


def test_nothing_waits_of_what_was_left(scene: Scene) -> None:
    """
    Of a topic that a connection has left nothing that still waits for its turn is written; of others it is.
    """
    ada = scene.connect("c1")
    for stream in ("t:room", "t:room2"):
        scene.join(ada, stream)
        scene.send(stream, None, Message(Kind.JSON, b"1", Options(latest="cursor")))

    scene.hub.unsubscribe(ada, "t:room")
    ada.drop_newest_of("t:room")

    assert ["- t=room2 k=cursor 1"] == ada.told()


@pytest.mark.parametrize("latest", ["", "cursor"])
def test_what_is_not_kept_is_written_once(scene: Scene, latest: str) -> None:
    """
    A message that is not kept is one frame, which all connections of a protocol share.
    """
    connections = [scene.connect(id, wire=wire) for id, wire in (("1", VERSION1), ("2", VERSION1), ("3", PLAIN))]
    for connection in connections:
        scene.join(connection, EVERYONE)
    scene.send(EVERYONE, None, Message(Kind.JSON, b"1", Options(latest=latest)))

    first, second, plain = (([*one._waiting] or [*one._newest.values()])[-1] for one in connections)
    assert first is second
    assert ("1", "- t=*") == (words_of(plain), words_of(first).split(" k=")[0].removesuffix(" 1"))


def test_newest_of_many_names_are_dropped(scene: Scene) -> None:
    """
    What waits under names is no more than what may wait: then the oldest is dropped, and the connection stays open.
    """
    ada = scene.connect("1")
    scene.join(ada, ROOM)
    text = b'"%s"' % (b"x" * (scene.settings.max_queued_bytes // 4))
    for name in "abcdef":
        scene.send(ROOM, None, Message(Kind.JSON, text, Options(latest=name)))

    assert ["k=d", "k=e", "k=f"] == [told.split(" ")[2] for told in ada.told()]
    scene.send(ROOM, None, Message(Kind.JSON, text, Options(latest="g")))
    assert 1 == len(ada.told())
    assert ada.closing is None


@pytest.mark.parametrize("kind", [Kind.LEAVE, Kind.CLOSE])
def test_an_order_that_ends_something_waits_for_no_slow_client(scene: Scene, kind: Kind) -> None:
    """
    Who is behind leaves a topic, or is closed, when that is said, and not when he has read so far.
    """
    ada = scene.connect("1")
    scene.join(ada, "u:ada", at=10)
    scene.send("u:ada", 12)  # the one before was lost
    order = Message(kind, b"room") if kind is Kind.LEAVE else Close(4101, "").to_message()
    scene.send("u:ada", 13, order)
    scene.send("u:ada", 13, order)

    assert (kind is Kind.CLOSE) == (ada.closing is not None)
    assert (kind is Kind.LEAVE) == (order in ada.orders)


def test_what_came_before_it_was_told_so(scene: Scene) -> None:
    """
    What is sent once Redis knows of a subscription is for it, though another's call has told Redis, and the answer to
    its own comes later.
    """
    ada = scene.connect("c1")
    subscription = scene.hub.subscribe(ada, "u:ada")
    scene.hub.attached("u:ada", at(10))
    scene.send("u:ada", 11)
    scene.hub.attached("u:ada", at(11))
    assert at(10) == subscription.starts

    scene.hub.begin(subscription, Missed(at(11), subscription.starts, True))

    assert [subscription] == scene.caught_up()
    scene.hub.take_page(subscription, page(11, 11), scene.hub.heard_of("u:ada"))
    scene.send("u:ada", 12)
    assert ["11", "12"] == [words.split()[0] for words in ada.told()]


def test_a_user_was_revoked_while_the_node_was_cut_off(scene: Scene) -> None:
    """
    A node that comes back learns when a user was revoked, and closes those whose proofs are from before, also those
    that have not begun.
    """
    old, new, coming = (scene.connect(id) for id in ("1", "2", "3"))
    new.issued = 100.0
    scene.join(old, "u:ada")
    scene.join(new, "u:ada")
    scene.hub.subscribe(coming, "u:ada")
    scene.hub.attached("u:ada", at(10), 100.0)

    assert [(4101, "signed out"), None, (4101, "signed out")] == [one.closing for one in (old, new, coming)]
    assert 100.0 == new.revoked_at


def test_the_oldest_proof_of_those_who_have_not_begun(scene: Scene) -> None:
    """
    It goes with the call that tells Redis of them. Those who are in have proven who they are, and topics ask for none.
    """
    old, young, inside = (scene.connect(id) for id in ("1", "2", "3"))
    old.issued, young.issued, inside.issued = 100.0, 200.0, 50.0
    scene.join(inside, "u:ada")
    scene.hub.subscribe(young, "u:ada")
    only_young = scene.hub.proof("u:ada")
    scene.hub.subscribe(old, "u:ada")
    scene.hub.subscribe(old, ROOM)

    assert (200.0, 100.0) == (only_young, scene.hub.proof("u:ada"))
    assert [None, None] == [scene.hub.proof(stream) for stream in (ROOM, "u:nobody")]


def test_who_was_revoked_before_it_began(scene: Scene) -> None:
    """
    Those of the user whose proofs are from before are put out, and what they were subscribed to is returned once each;
    those who are in stay, and so does one with a newer proof.
    """
    inside, old, young = (scene.connect(id) for id in ("1", "2", "3"))
    young.issued = 100.0
    scene.join(inside, "u:ada")
    scene.hub.subscribe(old, "u:ada")
    scene.hub.subscribe(young, "u:ada")

    assert ("u:ada",) == scene.hub.put_out("u:ada", 100.0)
    assert [None, (4101, "signed out"), None] == [one.closing for one in (inside, old, young)]
    assert 2 == scene.hub.count("u:ada")
    assert () == scene.hub.put_out("u:nobody", 100.0)


def test_where_a_subscription_is(scene: Scene) -> None:
    """
    One that is live is where its stream is, one that is behind where it has read to.
    """
    live, behind = scene.connect("1"), scene.connect("2", "bob")
    first = scene.join(live, ROOM)
    scene.send(ROOM, 11)
    second = scene.hub.subscribe(behind, ROOM)

    assert [at(11), None] == [scene.hub.position_of(one) for one in (first, second)]
    scene.send(ROOM, 13)
    assert at(11) == scene.hub.position_of(first)
    scene.hub.unsubscribe(live, ROOM)
    assert at(11) == scene.hub.position_of(first)


@pytest.mark.parametrize("kind", [Kind.HEARTBEAT, Kind.PROBE, Kind.PROGRESS, Kind.JOB, Kind.MEMBERS])
@pytest.mark.parametrize(("stream", "offset"), [("u:ada", 11), ("u:nobody", None), ("j:u:nobody", 11), ("m:none", 11)])
def test_what_redis_says_and_is_not_for_here(scene: Scene, kind: Kind, stream: str, offset: int | None) -> None:
    """
    Kinds that are not of messages tell nobody anything in another's place: a stream that nobody here has, an offset
    where none belongs, a kind that is the node's own concern.
    """
    ada = scene.connect("1")
    scene.join(ada, "u:ada")
    scene.send(stream, offset, Message(kind, b"{}"))

    assert [] == ada.told() == ada.orders == scene.behind


def test_a_connection_that_closes_while_its_page_is_offered(scene: Scene) -> None:
    """
    An order in the page ends it, and its end takes its subscriptions: it does not become live after that.
    """
    ada = scene.connect("1")

    def go() -> None:
        scene.hub.remove(ada)

    ada.on_close = go
    subscription = scene.join(ada, ROOM)
    scene.send(ROOM, 12)
    order = Entry(11, Close(4101, "").to_message())
    scene.hub.take_page(subscription, Missed(at(12), at(12), True, (order, Entry(12, message(12)))), at(12))
    scene.send(ROOM, 13)

    assert [] == ada.told()
    assert (0, ()) == (len(scene.hub), scene.hub.streams)


def test_what_one_has_left_is_not_told_of_it(scene: Scene) -> None:
    """
    Who was the last in a topic left it: what was begun for him meanwhile ends without a trace.
    """
    states = scene.hub.states
    states.begin_jobs("u:ada", at(1))
    states.reread_jobs("j:u:ada", at(1))
    states.doubt_jobs("j:u:ada")
    states.take_jobs("u:ada", [])
    states.reading_members("m:room")
    states.take_members("m:room", listed(5, "ada"))

    assert [False, False] == [states.is_stale(stream) for stream in ("j:u:ada", "m:room")]
    assert (0, [], ()) == (scene.members_changed, scene.stale, states.counted)


def test_jobs_that_could_not_be_read_are_stale(scene: Scene) -> None:
    """
    They are read again.
    """
    scene.join(scene.connect("1"), "u:ada")
    scene.hub.states.begin_jobs("u:ada", at(5))
    before = scene.hub.states.is_stale("j:u:ada")
    scene.hub.states.doubt_jobs("j:u:ada")

    assert (False, True) == (before, scene.hub.states.is_stale("j:u:ada"))


def test_jobs_are_told_to_those_whose_protocol_has_no_list(scene: Scene) -> None:
    """
    After a change was missed one who speaks plain is told each job that may have changed, the oldest first; the other
    gets the list.
    """
    plain, ada = scene.connect("1", wire=PLAIN), scene.connect("2")
    for connection in (plain, ada):
        scene.join(connection, "u:ada")
    long_ago, now = 1_000, 1_000_000
    jobs = [
        {"id": "runs", "seq": now},
        {"id": "waits", "seq": long_ago},
        {"id": "ended", "seq": now - 1, "ended_at": 1.0},
        {"id": "over", "seq": long_ago, "ended_at": 1.0},
    ]
    scene.hub.states.take_jobs("u:ada", jobs)

    assert ["ended", "waits", "runs"] == [json.loads(text)["job"]["id"] for text in plain.told()]
    listed, *more = ada.told()
    assert ["runs", "waits", "ended", "over"] == [
        job["id"] for job in json.loads(listed.removeprefix("!jobs "))["jobs"]
    ]
    assert [] == more


def test_an_order_for_another_is_not_obeyed(scene: Scene) -> None:
    """
    An order says whom it is for: the others keep what they have, also those that are behind.
    """
    ada, former = scene.connect("1"), scene.connect("2")
    former.former = "c-before"
    for connection in (ada, former):
        scene.join(connection, "u:ada")
    order = Message(Kind.LEAVE, b"room", Options(but="c-before", user="ada"))
    scene.send("u:ada", 11, order)
    scene.send("u:ada", 13)
    scene.send("u:ada", 14, order)

    assert ([order, order], []) == (ada.orders, former.orders)


def test_the_members_that_who_speaks_plain_is_not_told(scene: Scene) -> None:
    """
    Who comes and goes is told in words that the plain protocol has not.
    """
    ada, plain = with_members(scene, "ada"), scene.connect("2", "bob", wire=PLAIN)
    scene.join(plain, "t:room", members=True)
    of_members(scene, 6, joined=["eve"])
    scene.hub.states.tell_members()

    assert ['!members {"topic":"room","joined":["eve"],"left":[]}'] == ada.told()
    assert [] == plain.told()


@pytest.mark.parametrize("kind", [Kind.CLOSE, Kind.JOIN, Kind.LEAVE])
def test_an_order_that_is_not_counted(scene: Scene, kind: Kind) -> None:
    """
    Orders are kept, so that who was cut off obeys them too: one without an offset is none of ours.
    """
    ada = scene.connect("1")
    scene.join(ada, "u:ada")
    scene.send("u:ada", None, Close(4101, "").to_message() if kind is Kind.CLOSE else Message(kind, b"room"))

    assert (None, []) == (ada.closing, ada.orders)


def test_what_redis_knows_of_those_who_have_left(scene: Scene) -> None:
    """
    The answer to a call comes when the last subscription has gone: it is nobody's.
    """
    scene.hub.attached("u:ada", at(10), 100.0)

    assert scene.hub.heard_of("u:ada") is None


def test_a_slow_client_does_without_what_has_no_name(new_scene: Callable[..., Scene]) -> None:
    """
    What is neither kept nor the newest of a name is not for one whose queue is more than half full.
    """
    scene = new_scene(max_queued_messages=4)
    ada = scene.connect("1")
    scene.join(ada, "u:ada")
    for offset in (11, 12, 13):
        scene.send("u:ada", offset)
    scene.send("u:ada", None, Message(Kind.JSON, b"0"))

    assert ["11 11", "12 12", "13 13"] == ada.told()


def test_a_protocol_without_words_is_asked_once(scene: Scene) -> None:
    """
    What is told to many is written once for each protocol, also where it has no words for it.
    """
    with_members(scene, "ada")
    for number in (2, 3):
        scene.join(scene.connect(f"{number}", wire=PLAIN), "t:room", members=True)
    of_members(scene, 6, joined=["eve"])
    scene.hub.states.tell_members()

    assert [[], []] == [one.told() for one in scene.hub.connections[1:]]


def test_a_gap_is_told_to_observers(scene: Scene) -> None:
    """
    With whose it is, and in which stream; what is not counted has none.
    """
    seen: list[events.Event] = []
    ada = scene.connect("c1")
    with events.observed(SimpleNamespace(on_event=seen.append)):
        for stream in ("u:ada", ROOM, "c:c1"):
            ada.tell_gap(stream, at(5))

    assert [events.GapTold("c1", "ada", stream) for stream in ("u:ada", ROOM)] == seen


def test_what_was_sent_before_is_linked_to(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A page is told of with the traces of what it gave the client; one that has no trace, or is for others, is not.
    """
    recovered: list[tuple[object, ...]] = []
    tracer = SimpleNamespace(recovered=lambda *about, messages: recovered.append((*about, messages)))
    monkeypatch.setattr(spans, "tracer", tracer)
    ada = scene.connect("c1")
    subscription = scene.join(ada, "u:ada", 10, missed=(10,))
    options = (Options(traceparent="one"), Options(), Options(but="c1", user="ada", traceparent="not hers"))
    entries = tuple(Entry(offset, message(offset, one)) for offset, one in enumerate(options, 11))
    scene.hub.heard("u:ada", at(13))
    scene.hub.take_page(subscription, Missed(at(13), at(13), True, entries), at(13))

    assert ["10 10", "11 11", "12 12"] == ada.told()
    assert [([spans.TraceContext("one")], "u:ada", 2)] == recovered


def test_a_trace_leaves_nobody_out(scene: Scene) -> None:
    """
    What has no other options is for all, kept or not.
    """
    connections = [scene.connect("c1"), scene.connect("c2", "bob")]
    for connection in connections:
        scene.join(connection, ROOM)
    scene.send(ROOM, 11, message(11, Options(traceparent="one")))
    scene.send(ROOM, None, message(12, Options(traceparent="one", latest="score")))

    assert [["11 t=room 11", "- t=room k=score 12"]] * 2 == [connection.told() for connection in connections]
