"""How many are taken from one address, and of strangers."""

import pytest

from qrsocket.server.places import Places, most_strangers


def entered(places: Places, *addresses: str) -> list[bool]:
    return [places.enter(address) is not None for address in addresses]


def test_an_address_has_so_many_places() -> None:
    """
    Of one address so many are taken, whatever others have; who leaves makes room.
    """
    places = Places(most_strangers=1, most_per_address=2)
    first = places.enter("10.0.0.1")
    assert first is not None

    assert [True, False, True] == entered(places, "10.0.0.1", "10.0.0.1", "10.0.0.2")
    first.leave()
    assert [True, False] == entered(places, "10.0.0.1", "10.0.0.1")


def test_an_ipv6_network_is_one_address() -> None:
    """
    All of one /64 is one owner's, and an IPv4 address is the same when it comes by IPv6.
    """
    places = Places(most_strangers=1, most_per_address=1)

    assert [True, False, True] == entered(places, "2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1")
    assert [True, False, True] == entered(places, "10.0.0.1", "::ffff:10.0.0.1", "::ffff:10.0.0.2")


@pytest.mark.parametrize(("most", "address"), [(0, "10.0.0.1"), (1, "")])
def test_nobody_is_counted(most: int, address: str) -> None:
    """
    There is no limit if none is set, nor where the server knows no address, on a Unix socket say.
    """
    places = Places(most_strangers=1, most_per_address=most)

    assert [True] * 3 == entered(places, *[address] * 3)


def test_nothing_is_kept() -> None:
    """
    An address that nobody has any more is forgotten.
    """
    places = Places(most_strangers=1, most_per_address=1)
    for number in range(1000):
        place = places.enter(f"10.0.{number // 250}.{number % 250}")
        assert place is not None
        place.leave()

    assert not places.by_owner


def test_strangers_have_few_places() -> None:
    """
    So many strangers are let in; one who is known, or leaves, makes room for one more.
    """
    places = Places(most_strangers=2, most_per_address=0)
    first, second, *others = (place for place in map(places.enter, ["10.0.0.1"] * 6) if place is not None)

    assert [True, True, False] == [first.be_stranger(), second.be_stranger(), others[0].be_stranger()]
    first.be_known()
    first.leave()
    assert [True, False] == [others[1].be_stranger(), others[2].be_stranger()]
    second.leave()
    assert [True, False] == [others[3].be_stranger(), others[2].be_stranger()]


@pytest.mark.parametrize(("most", "places", "expected"), [(0, 10_000, 1000), (0, 50, 100), (7, 10_000, 7)])
def test_how_many_strangers(most: int, places: int, expected: int) -> None:
    """
    As many as set, or a tenth of the node's places, at least 100.
    """
    assert expected == most_strangers(most, places)
