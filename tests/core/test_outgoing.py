"""What waits for a client: when it is written, what is dropped, and when a client is too slow."""

import asyncio
import logging

import pytest

from qrsocket.errors import CloseCode
from qrsocket.server.outbox import Outbox
from qrsocket.server.outgoing import Outgoing
from qrsocket.settings import Settings


class Client(Outgoing):
    """What was written for it, a list for each time."""

    __slots__ = ("is_full_after", "times")

    def __init__(self, outbox: Outbox, **settings: int) -> None:
        super().__init__(outbox, Settings(**{"max_message_out_bytes": 1, **settings}))  # type: ignore[arg-type]
        self.times: list[list[bytes]] = []
        self.is_full_after = 10**6

    def close(self, code: int, reason: str = "") -> None:
        self.closing = self.closing or (code, reason)
        self._wake()

    def write(self, frames: list[bytes]) -> None:
        self.times.append(frames)
        if len(self.times) >= self.is_full_after:
            self.pause()

    @property
    def written(self) -> list[bytes]:
        return [frame for time in self.times for frame in time]


async def turn() -> None:
    """Let the loop do what is due."""
    await asyncio.sleep(0)


async def test_what_comes_in_one_turn_is_written_together() -> None:
    """
    Frames wait until the turn of the loop ends, and go in order in one write for each client.
    """
    outbox = Outbox()
    ada, bob = Client(outbox), Client(outbox)
    for client in (ada, bob):
        client.begin(client.write)
    ada.offer(b"1")
    bob.offer(b"1")
    ada.offer(b"2")

    assert [] == ada.times == bob.times
    await turn()
    assert [[b"1", b"2"]] == ada.times
    assert [[b"1"]] == bob.times
    ada.offer(b"3")
    await turn()
    assert [[b"1", b"2"], [b"3"]] == ada.times


async def test_held_until_much_is_offered() -> None:
    """
    Who has much to offer holds the outbox, and has it written without a turn of the loop.
    """
    outbox = Outbox()
    ada = Client(outbox)
    ada.begin(ada.write)
    outbox.hold()
    ada.offer(b"1")
    await turn()

    assert [] == ada.times
    outbox.flush()
    assert [[b"1"]] == ada.times
    ada.offer(b"2")
    await turn()
    assert [[b"1"], [b"2"]] == ada.times


async def test_before_it_is_open() -> None:
    """
    What is offered before it is open is written as it opens.
    """
    ada = Client(Outbox())
    ada.offer(b"1")
    await turn()
    ada.offer_newest("a", b"n")
    await turn()

    assert not ada.times
    ada.begin(ada.write)
    assert [[b"1"], [b"n"]] == ada.times


async def test_the_newest_goes_when_nothing_else_waits() -> None:
    """
    Of each kind only the newest frame is written, and after all others.
    """
    ada = Client(Outbox())
    ada.begin(ada.write)
    ada.pause()
    ada.offer_newest("typing", b"t1")
    ada.offer_newest("cursor", b"c1")
    ada.offer(b"1")
    ada.offer_newest("typing", b"t2")
    await turn()

    assert not ada.times
    ada.resume()
    assert [[b"1"], [b"t2", b"c1"]] == ada.times


async def test_newest_frames_beyond_the_limit() -> None:
    """
    Of more kinds than may wait the oldest are dropped, and what is dropped is not counted.
    """
    ada = Client(Outbox(), max_queued_bytes=100)
    for name in "abcde":
        ada.offer_newest(name, name.encode() * 40)
    ada.drop_newest("d")
    ada.offer_newest("f", b"f" * 40)
    ada.begin(ada.write)

    assert [b"e" * 40, b"f" * 40] == ada.written


@pytest.mark.parametrize("settings", [{"max_queued_messages": 10}, {"max_queued_bytes": 100}])
async def test_a_client_that_takes_nothing(settings: dict[str, int]) -> None:
    """
    For one that takes nothing so much waits and no more; then it is closed, and what waited is dropped.
    """
    ada = Client(Outbox(), **settings)
    ada.begin(ada.write)
    ada.pause()
    for _ in range(10):
        ada.offer(b"x" * 10)
    assert ada.closing is None
    for _ in range(2):
        ada.offer(b"x" * 10)

    assert (CloseCode.SLOW_CONSUMER, "too slow to read what is sent") == ada.closing
    ada.resume()
    assert not ada.times


async def test_a_burst_for_a_client_that_takes_all() -> None:
    """
    A burst within one turn, longer than what may wait, makes no client slow that takes it.
    """
    ada = Client(Outbox(), max_queued_messages=10)
    ada.begin(ada.write)
    for number in range(105):
        ada.offer(b"%d" % number)
    await turn()

    assert [b"%d" % number for number in range(105)] == ada.written
    assert ada.closing is None


async def test_one_large_frame() -> None:
    """
    One frame larger than what may wait makes no client slow; two of them do.
    """
    ada = Client(Outbox(), max_queued_bytes=100)
    ada.begin(ada.write)
    ada.pause()
    ada.offer(b"small")
    ada.offer(b"x" * 1_000)
    assert ada.closing is None
    ada.offer(b"x" * 1_000)

    assert ada.closing is not None


async def test_what_is_not_held_against_it() -> None:
    """
    What a client has asked for may be any number of frames.
    """
    ada = Client(Outbox(), max_queued_messages=10)
    for _ in range(100):
        ada.offer_whatever_waits(b"x")
    ada.begin(ada.write)

    assert 100 == len(ada.written)
    assert ada.closing is None


@pytest.mark.parametrize("settings", [{"max_queued_messages": 10}, {"max_queued_bytes": 100}])
async def test_what_is_sent_while_that_waits(settings: dict[str, int]) -> None:
    """
    While what it has asked for waits, so much else may wait as if nothing did, and no more.
    """
    ada = Client(Outbox(), **settings)
    ada.begin(ada.write)
    ada.pause()
    for _ in range(100):
        ada.offer_whatever_waits(b"x" * 10)
    for _ in range(10):
        ada.offer(b"x" * 10)
    assert ada.closing is None
    for _ in range(2):
        ada.offer(b"x" * 10)

    assert ada.closing is not None


async def test_what_was_asked_for_and_is_written() -> None:
    """
    What was written makes no room for more than may wait.
    """
    ada = Client(Outbox(), max_queued_bytes=1_000)
    for _ in range(20):
        ada.offer_whatever_waits(b"x" * 10_000)
    ada.is_full_after = 1
    ada.begin(ada.write)
    ada.is_full_after = 2
    ada.resume()
    assert 12 == len(ada.written)
    for _ in range(100):
        ada.offer(b"x" * 10)
    assert ada.closing is None
    for _ in range(2):
        ada.offer(b"x" * 10)

    assert ada.closing is not None


async def test_a_client_that_is_full_half_way() -> None:
    """
    Once the client takes no more, the rest waits, also what is the newest of its kind.
    """
    ada = Client(Outbox())
    ada.is_full_after = 1
    ada.begin(ada.write)
    ada.offer(b"1")
    ada.offer_newest("a", b"n")
    await turn()
    ada.offer(b"2")
    await turn()

    assert [[b"1"]] == ada.times
    ada.is_full_after = 10
    ada.resume()
    assert [b"1", b"2", b"n"] == ada.written


async def test_waiting_for_what_is_written() -> None:
    """
    `wait_written` ends when all is written, or the client is closed; `drained` also when it has gone.
    """
    outbox = Outbox()
    ada, bob, eve = Client(outbox), Client(outbox), Client(outbox)
    for client in (ada, bob, eve):
        client.begin(client.write)
        client.pause()
        client.offer(b"1")
    waiting = [asyncio.create_task(each) for each in (ada.wait_written(), bob.wait_written(), eve.drained())]
    await turn()
    await turn()
    assert not any(task.done() for task in waiting)
    ada.resume()
    bob.close(1000)
    eve.gone()

    await asyncio.gather(*waiting)
    assert [[b"1"]] == ada.times
    assert [] == bob.times == eve.times


async def test_a_client_that_is_not_ready_for_too_long() -> None:
    """
    One that takes nothing for `ping_timeout` is closed; one that takes something in time is not.
    """
    ada, bob = Client(Outbox()), Client(Outbox())
    for client in (ada, bob):
        client._patience = 0.01
        client.begin(client.write)
        client.pause()
    bob.resume()
    while ada.closing is None:
        await asyncio.sleep(0.001)

    assert (CloseCode.SLOW_CONSUMER, "nothing is read") == ada.closing
    assert bob.closing is None


async def test_one_that_cannot_be_written_to(caplog: pytest.LogCaptureFixture) -> None:
    """
    A transport that fails harms its own client alone.
    """
    outbox = Outbox()
    ada, bob = Client(outbox), Client(outbox)
    ada.begin(lambda _frames: 1 / 0)
    bob.begin(bob.write)
    with caplog.at_level(logging.CRITICAL, logger="qrsocket"):
        ada.offer(b"1")
        bob.offer(b"1")
        await turn()

    assert (CloseCode.INTERNAL_ERROR, "") == ada.closing
    assert [[b"1"]] == bob.times


async def test_nothing_is_offered_to_one_that_closes() -> None:
    """
    By none of the ways.
    """
    ada = Client(Outbox())
    ada.close(1000)
    ada.begin(ada.write)
    ada.offer(b"1")
    ada.offer_whatever_waits(b"2")
    ada.offer_newest("a", b"3")
    await turn()

    assert [] == ada.times


async def test_who_waits_together() -> None:
    """
    Several may wait for the same: all go on.
    """
    ada = Client(Outbox())
    ada.begin(ada.write)
    ada.pause()
    ada.offer(b"1")
    waiting = [asyncio.create_task(ada.wait_written()) for _ in range(3)]
    await turn()
    ada.resume()

    await asyncio.gather(*waiting)


async def test_room_for_what_nobody_is_promised() -> None:
    """
    There is, while the client takes what it gets; then, until half of what may wait does.
    """
    ada = Client(Outbox(), max_queued_messages=4)
    ada.begin(ada.write)
    rooms = [ada.has_room]
    ada.pause()
    for _ in range(3):
        rooms.append(ada.has_room)
        ada.offer(b"1")

    assert ([True, True, True, True], False) == (rooms, ada.has_room)


async def test_what_is_counted() -> None:
    """
    Frames that were written are counted, and the bytes that wait for clients which are not ready for more: for none
    that has gone, even if its transport says afterwards that it is full.
    """
    outbox = Outbox()
    ada, bob = Client(outbox), Client(outbox)
    for client in (ada, bob):
        client.begin(client.write)
    ada.offer(b"1")
    bob.offer_newest("cursor", b"23")
    await turn()
    assert (2, 0, set()) == (outbox.written, outbox.waiting_bytes, outbox.stuck)
    for client in (ada, bob):
        client.pause()
        client.offer(b"456")
        client.offer_newest("cursor", b"78")
    await turn()
    assert (2, 10, 4) == (outbox.written, outbox.waiting_bytes, outbox.waiting_messages)
    ada.resume()
    assert (4, 5) == (outbox.written, outbox.waiting_bytes)
    bob.gone()
    bob.pause()

    assert (0, set()) == (outbox.waiting_bytes, outbox.stuck)
    bob.gone()  # ends its patience
