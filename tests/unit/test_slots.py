"""How many are taken from one address, and of strangers."""

import pytest

from qrsocket.server.slots import Slots, most_strangers


def entered(slots: Slots, *addresses: str) -> list[bool]:
    return [slots.enter(address) is not None for address in addresses]


def test_an_address_has_so_many_slots() -> None:
    """
    Of one address so many are taken, whatever others have; who leaves makes room.
    """
    slots = Slots(most_strangers=1, most_per_address=2)
    first = slots.enter("10.0.0.1")
    assert first is not None

    assert [True, False, True] == entered(slots, "10.0.0.1", "10.0.0.1", "10.0.0.2")
    first.leave()
    assert [True, False] == entered(slots, "10.0.0.1", "10.0.0.1")


def test_an_ipv6_network_is_one_address() -> None:
    """
    All of one /64 is one owner's, and an IPv4 address is the same when it comes by IPv6.
    """
    slots = Slots(most_strangers=1, most_per_address=1)

    assert [True, False, True] == entered(slots, "2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1")
    assert [True, False, True] == entered(slots, "10.0.0.1", "::ffff:10.0.0.1", "::ffff:10.0.0.2")


@pytest.mark.parametrize(("most", "address"), [(0, "10.0.0.1"), (1, "")])
def test_nobody_is_counted(most: int, address: str) -> None:
    """
    There is no limit if none is set, nor where the server knows no address, on a Unix socket say.
    """
    slots = Slots(most_strangers=1, most_per_address=most)

    assert [True] * 3 == entered(slots, *[address] * 3)


def test_nothing_is_kept() -> None:
    """
    An address that nobody has any more is forgotten.
    """
    slots = Slots(most_strangers=1, most_per_address=1)
    for number in range(1000):
        slot = slots.enter(f"10.0.{number // 250}.{number % 250}")
        assert slot is not None
        slot.leave()

    assert not slots.by_owner


def test_strangers_have_few_slots() -> None:
    """
    So many strangers are let in; one who is known, or leaves, makes room for one more.
    """
    slots = Slots(most_strangers=2, most_per_address=0)
    first, second, *others = (slot for slot in map(slots.enter, ["10.0.0.1"] * 6) if slot is not None)

    assert [True, True, False] == [first.be_stranger(), second.be_stranger(), others[0].be_stranger()]
    first.be_known()
    first.leave()
    assert [True, False] == [others[1].be_stranger(), others[2].be_stranger()]
    second.leave()
    assert [True, False] == [others[3].be_stranger(), others[2].be_stranger()]


@pytest.mark.parametrize(("most", "slots", "expected"), [(0, 10_000, 1000), (0, 50, 100), (7, 10_000, 7)])
def test_how_many_strangers(most: int, slots: int, expected: int) -> None:
    """
    As many as set, or a tenth of the node's slots, at least 100.
    """
    assert expected == most_strangers(most, slots)
