"""The relay by itself: what is published becomes what connections are offered, and what is lost is noticed."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from qrsocket import events, spans
from qrsocket.server.readings import TIMED_EVERY, TOLD_TOGETHER
from qrsocket.server.relay import Relay
from qrsocket.signing import Ring
from tests.core.scene import Scene, Stub

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NODE, EVERYONE = b"node", b"everyone"


class Published:
    """A subscriber that says at once what it was given."""

    def __init__(self, *reads: list[tuple[bytes, bytes]]) -> None:
        self._reads = reads

    async def run(self, on_read: Callable[[Any], None], on_open: Callable[[], None]) -> None:
        on_open()
        for envelopes in self._reads:
            on_read(envelopes)


class Relayed:
    """What a relay made of what was published to its node, on which `ada` is connected."""

    def __init__(self, ring: Ring | None = None) -> None:
        self.scene = Scene()
        self.ada: Stub = self.scene.connect("c1")
        self.scene.join(self.ada, "u:ada", 10)
        self.probes: list[str] = []
        self.heartbeats: list[bytes] = []
        self.doubts = 0
        outbox, probed, beaten = self.ada._outbox, self.probes.append, self.heartbeats.append
        self.relay = Relay("node", self.scene.hub, outbox, ring, probed, beaten, self._doubt)

    async def read(self, *reads: list[tuple[bytes, bytes]]) -> list[str]:
        """Let it read *reads*, and return what the client has been told."""
        await self.relay.run(Published(*reads))  # type: ignore[arg-type]
        return self.ada.told()

    def _doubt(self) -> None:
        self.doubts += 1


def envelope(number: int, offset: int | str, kind: str = "j", payload: str = "1", options: str = "") -> bytes:
    return f"{kind}\t{number}\te\tm1\t{options}\tu:ada\t{offset}\n{payload}".encode()


def heartbeat(number: int) -> bytes:
    return f"h\t{number}\te\t\t\n".encode()


async def test_what_is_published_is_told() -> None:
    """
    In order. That the subscription was opened is the first doubt: what was published before did not come.
    """
    relayed = Relayed()

    assert ["11 1", "12 1", "13 1"] == await relayed.read(
        [(NODE, envelope(1, 11)), (NODE, envelope(2, 12))], [(NODE, envelope(3, 13))]
    )
    assert 1 == relayed.doubts


@pytest.mark.parametrize(
    ("numbers", "doubts"),
    [((1, 2, 3), 1), ((5, 6, 7), 1), ((1, 3, 4), 2), ((1, 3, 5), 3), ((2, 1, 2), 2)],
)
async def test_a_number_that_does_not_follow(numbers: tuple[int, ...], doubts: int) -> None:
    """
    The first may be any. One that is missing, or comes twice, is a doubt, once each time; what has come is told.
    """
    relayed = Relayed()
    envelopes = [(NODE, envelope(number, 10 + place)) for place, number in enumerate(numbers, 1)]

    assert ["11 1", "12 1", "13 1"] == await relayed.read(envelopes)
    assert doubts == relayed.doubts


@pytest.mark.parametrize(("number", "doubts"), [(1, 1), (2, 2), (0, 2)])
async def test_a_heartbeat_has_the_number_of_the_last_frame(number: int, doubts: int) -> None:
    """
    Any other shows that the last envelope was lost, though nothing came after it.
    """
    relayed = Relayed()
    await relayed.read([(NODE, envelope(1, 11)), (NODE, heartbeat(number))])

    assert doubts == relayed.doubts


async def test_each_channel_has_its_own_numbers() -> None:
    """
    A node hears two: its own, and that of all. Nothing is missing in one because of the other.
    """
    relayed = Relayed()
    first = [(NODE, envelope(1, 11)), (EVERYONE, envelope(8, 12))]
    await relayed.read(first, [(NODE, envelope(2, 13)), (EVERYONE, envelope(9, 14))])

    assert 1 == relayed.doubts


async def test_a_subscription_that_is_opened_again() -> None:
    """
    Numbers begin anew: what was lost in between is one doubt, not two.
    """
    relayed = Relayed()
    await relayed.read([(NODE, envelope(1, 11))])
    await relayed.read([(NODE, envelope(7, 12))])

    assert 2 == relayed.doubts


async def test_a_probe_is_for_the_node() -> None:
    """
    `qrsocket doctor` asks whether what is published arrives: nobody is told, and it has no number to count.
    """
    relayed = Relayed()
    told = await relayed.read([(NODE, envelope(1, 11)), (NODE, b"p\t0\t\tprobe1\t\n"), (NODE, envelope(2, 12))])

    assert (["11 1", "12 1"], ["probe1"], 1) == (told, relayed.probes, relayed.doubts)


@pytest.mark.parametrize("data", [b"", b"\n", b"j\t1\n1", b"?\t2\te\tm\t\tu:ada\t12\n1", b"j\tx\te\tm\t\tu:ada\t12\n1"])
async def test_a_frame_that_cannot_be_read(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """
    It is dropped, and logged by its size and the class of the error alone; those after it are told.
    """
    relayed = Relayed()
    told = await relayed.read([(NODE, data), (NODE, envelope(1, 11))])

    assert ["11 1"] == told
    assert [(len(data), None)] == [(vars(record)["size_bytes"], record.exc_info) for record in caplog.records]


async def test_a_message_that_cannot_be_delivered(caplog: pytest.LogCaptureFixture) -> None:
    """
    It is dropped, and logged with the traceback, which is of us; those after it are told.
    """
    relayed = Relayed()
    told = await relayed.read([(NODE, envelope(1, 11, "c", "no close")), (NODE, envelope(2, 12))])

    assert ["12 1"] == told
    assert [True] == [record.exc_info is not None for record in caplog.records]


async def test_what_is_not_signed_is_told_to_nobody() -> None:
    """
    With keys, messages without a signature have no recipients; that they came is counted all the same.
    """
    ring = Ring(["s" * 32], "qrsocket")
    relayed = Relayed(ring)
    told = await relayed.read([(NODE, envelope(1, 11)), (NODE, envelope(2, 11))])

    assert ([], 1) == (told, relayed.doubts)


async def test_what_is_missing_is_told_to_observers() -> None:
    """
    The number that was expected, and the one that came.
    """
    seen: list[events.Event] = []
    observer = SimpleNamespace(on_event=seen.append)
    with events.observed(observer):
        await Relayed().read([(NODE, envelope(1, 11)), (NODE, envelope(3, 12))])

    assert [events.Missed(2, 3)] == seen


async def test_what_is_in_a_trace_is_told_when_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With how many it was written to; what is in none is not, and what is for nobody here neither.
    """
    delivered: list[tuple[Any, ...]] = []

    def note(*about: Any, connections: int, began_ns: int) -> None:
        delivered.append((*about, connections, relayed.ada._outbox._waiting))

    monkeypatch.setattr(spans, "tracer", SimpleNamespace(delivered=note))
    relayed = Relayed()
    traced = envelope(1, 11, options=f"traceparent={PARENT} tracestate=a=1")
    elsewhere = envelope(3, 1, options=f"traceparent={PARENT}").replace(b"u:ada", b"u:bob")

    assert ["11 1", "12 1"] == await relayed.read([(NODE, traced), (NODE, envelope(2, 12))], [(NODE, elsewhere)])
    assert [(spans.TraceContext(PARENT, "a=1"), "m1", ["u:ada"], 1, [])] == delivered


async def test_without_a_tracer_a_trace_is_of_no_concern() -> None:
    """
    The message of another process that has one is told as any other.
    """
    assert ["11 1"] == await Relayed().read([(NODE, envelope(1, 11, options=f"traceparent={PARENT}"))])


async def test_readings_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Observers are told of many at once, and of few after a while: how much came, and how long one in eight took.
    """
    seen: list[Any] = []
    last = TOLD_TOGETHER + TIMED_EVERY  # told with the next one that is timed
    with events.observed(SimpleNamespace(on_event=seen.append)):
        relayed = Relayed()
        await relayed.read(*([(NODE, envelope(number, number + 10))] for number in range(1, last + 1)))
        (told,) = [event for event in seen if isinstance(event, events.Relayed)]
        assert (TOLD_TOGETHER + 1, TOLD_TOGETHER // TIMED_EVERY + 1) == (told.envelopes, len(told.seconds))
        assert all(0 < seconds < 1 for seconds in told.seconds)

        monkeypatch.setattr("qrsocket.server.readings.TOLD_EVERY", 0)
        await relayed.read(*([(NODE, heartbeat(last))] for _ in range(2)))
        assert [(TIMED_EVERY + 1, 2)] == [(event.envelopes, len(event.seconds)) for event in seen[-1:]]
