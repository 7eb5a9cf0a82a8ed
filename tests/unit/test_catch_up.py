"""Reading what was missed: one reading for all who miss the same, whatever becomes of who has begun it."""

import asyncio
from typing import Any

import pytest

from qrsocket.position import Position
from qrsocket.presence.answers import Members
from qrsocket.roundtrip import Call
from qrsocket.server.catch_up import CatchUp
from qrsocket.server.hub import Hub
from qrsocket.server.listings import Listings
from qrsocket.server.subscription import Subscription
from qrsocket.settings import Settings
from qrsocket.trouble import Trouble

ADA = Members(Position("e", 7), True, frozenset({"ada"}))


class FarEnd:
    """A Redis that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Any]] = []
        self.has_been_asked = asyncio.Event()

    async def ask(self, _call: Call[Any]) -> Any:
        self.asked.append(asyncio.get_running_loop().create_future())
        self.has_been_asked.set()
        return await self.asked[-1]

    async def is_asked(self) -> asyncio.Future[Any]:
        await self.has_been_asked.wait()
        self.has_been_asked.clear()
        return self.asked[-1]


@pytest.fixture
async def far_end() -> FarEnd:
    return FarEnd()


@pytest.fixture
async def catch_up(far_end: FarEnd, monkeypatch: pytest.MonkeyPatch) -> CatchUp:
    settings = Settings()
    hub = Hub(lambda _: None, lambda _: None, lambda: None)
    catch_up = CatchUp(settings, hub, Listings(settings), _at_once, lambda _: "e", Trouble("sockets stay open"))
    monkeypatch.setattr(catch_up, "_available", far_end.ask)
    return catch_up


async def test_one_reading_is_for_all(catch_up: CatchUp, far_end: FarEnd) -> None:
    """
    Who wants to know the same while it is being read waits for that, and each of them learns it.
    """
    readings = [asyncio.create_task(catch_up.read_members("m:room")) for _ in range(5)]
    (await far_end.is_asked()).set_result(ADA)

    assert [True] * 5 == await asyncio.gather(*readings)
    assert 1 == len(far_end.asked)
    later = asyncio.create_task(catch_up.read_members("m:room"))
    (await far_end.is_asked()).set_result(ADA)
    assert await later
    assert 2 == len(far_end.asked)


async def test_other_things_are_read_beside(catch_up: CatchUp, far_end: FarEnd) -> None:
    """
    A reading of one topic is none of another.
    """
    readings = [asyncio.create_task(catch_up.read_members(f"m:room:{number}")) for number in range(3)]
    await far_end.is_asked()
    await asyncio.sleep(0)
    for asked in far_end.asked:
        asked.set_result(ADA)

    assert [True] * 3 == await asyncio.gather(*readings)
    assert 3 == len(far_end.asked)


async def test_who_has_begun_to_read_goes_away(catch_up: CatchUp, far_end: FarEnd) -> None:
    """
    A client that closes while it joins takes no other with it that joins at the same time: one of them reads again.
    """
    first, *others = [asyncio.create_task(catch_up.read_members("m:room")) for _ in range(4)]
    await far_end.is_asked()
    first.cancel()
    (await far_end.is_asked()).set_result(ADA)

    assert [True] * 3 == await asyncio.gather(*others)
    assert first.cancelled()
    assert 2 == len(far_end.asked)


async def test_who_waits_for_a_reading_goes_away(catch_up: CatchUp, far_end: FarEnd) -> None:
    """
    That ends no reading of others.
    """
    first, waiting, other = [asyncio.create_task(catch_up.read_members("m:room")) for _ in range(3)]
    asked = await far_end.is_asked()
    waiting.cancel()
    await asyncio.wait([waiting])
    asked.set_result(ADA)

    assert [True, True] == await asyncio.gather(first, other)
    assert waiting.cancelled()


async def test_a_reading_that_fails(catch_up: CatchUp, far_end: FarEnd) -> None:
    """
    Who waited for it makes its own, and hears of its own failure.
    """
    first, other = [asyncio.create_task(catch_up.read_members("m:room")) for _ in range(2)]
    (await far_end.is_asked()).set_exception(ValueError("a bug"))
    (await far_end.is_asked()).set_result(ADA)

    assert await other
    with pytest.raises(ValueError, match="a bug"):
        await first


async def test_members_of_another_life_of_redis(catch_up: CatchUp, far_end: FarEnd) -> None:
    """
    What an empty Redis says before this node has said who is here is not certain: nobody is told that all have left.
    """
    hub = catch_up._hub
    hub.subscribe(Client(), "t:room", members=True)  # type: ignore[arg-type]
    for members in (ADA, Members(Position("another", 1), True, frozenset())):
        reading = asyncio.create_task(catch_up.read_members("m:room"))
        (await far_end.is_asked()).set_result(members)
        is_certain = await reading
    known = hub.states.members("room")

    assert not is_certain
    assert known is not None
    assert ({"ada"}, (["ada"], [])) == (known.users, known.take_untold())


async def _at_once() -> None:
    """The node has joined."""


class Client:
    """A connection whose client takes what waits when it is told to."""

    id, user = "c1", None

    def __init__(self) -> None:
        self.has_taken = asyncio.Event()
        self.subscriptions: dict[str, Subscription] = {}

    async def wait_written(self) -> None:
        await self.has_taken.wait()


async def test_pages_of_one_client_take_turns(catch_up: CatchUp, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A client that is behind in many topics gets one page at a time, each when the one before was taken, and of each
    topic in turn.
    """
    client, read, pages = Client(), [], {"t:a": 2, "t:b": 1, "t:c": 2}

    async def read_page(subscription: Subscription) -> None:
        client.has_taken.clear()
        read.append(subscription.stream)
        pages[subscription.stream] -= 1

    monkeypatch.setattr(catch_up, "_read_page", read_page)
    monkeypatch.setattr(catch_up._hub, "is_behind", lambda subscription: pages[subscription.stream] > 0)
    subscriptions = [Subscription(client, stream) for stream in pages]  # type: ignore[arg-type]
    catching_up = [asyncio.create_task(catch_up.catch_up(subscription)) for subscription in subscriptions]
    await asyncio.sleep(0)
    for number in range(5):
        assert number == len(read)
        client.has_taken.set()
        while len(read) == number:
            await asyncio.sleep(0)
    await asyncio.gather(*catching_up)

    assert ["t:a", "t:b", "t:c", "t:a", "t:c"] == read
    assert not catch_up._catching_up
