"""How many connections a node takes from one address, and from strangers. No sockets, no clock."""

from collections import Counter
from ipaddress import ip_address, ip_network

FEWEST_STRANGERS = 100
# Whoever has one IPv6 address has as many as there are in a network of this length.
# Source: RFC 6177, section 2
OF_ONE_OWNER = 64


class Slots:
    """
    Attributes:
        strangers: Connections that are open and have not said yet whose they are.
    """

    def __init__(self, *, most_strangers: int, most_per_address: int) -> None:
        """
        Args:
            most_per_address: 0 for any number.
        """
        self.strangers, self.most_strangers = 0, most_strangers
        self.by_owner: Counter[str] = Counter()
        self._most_per_address = most_per_address

    def enter(self, address: str) -> "Slot | None":
        """Take a slot for a connection from *address*; None if too many are from there already."""
        owner = _owner_of(address)
        if self._most_per_address and owner and self.by_owner[owner] >= self._most_per_address:
            return None
        self.by_owner[owner] += 1
        return Slot(self, owner)


class Slot:
    """What one connection takes, until it leaves."""

    __slots__ = ("_is_strangers", "_owner", "_slots")

    def __init__(self, slots: Slots, owner: str) -> None:
        self._slots, self._owner, self._is_strangers = slots, owner, False

    def be_stranger(self) -> bool:
        """It will say later whose it is. Returns False if too many of these are here already."""
        if self._slots.strangers >= self._slots.most_strangers:
            return False
        self._slots.strangers += 1
        self._is_strangers = True
        return True

    def be_known(self) -> None:
        """It has said whose it is, or that it is nobody's."""
        if self._is_strangers:
            self._is_strangers = False
            self._slots.strangers -= 1

    def leave(self) -> None:
        """It has gone."""
        self.be_known()
        counts = self._slots.by_owner
        counts[self._owner] -= 1
        if not counts[self._owner]:
            del counts[self._owner]


def most_strangers(most: int, slots: int) -> int:
    """Return how many strangers a node with so many *slots* takes: as set, or a tenth of them, at least 100."""
    return most or max(FEWEST_STRANGERS, slots // 10)


def _owner_of(address: str) -> str:
    try:
        ip = ip_address(address)
    except ValueError:
        return address  # a Unix socket's, or the test client's
    if ip.version == 4:
        return address
    return str(ip.ipv4_mapped or ip_network((int(ip), OF_ONE_OWNER), strict=False))
