"""
Presence as it is promised, on dictionaries: who is here, what is decided of it, and which node is to tell.

What `qrsocket/presence/*.lua` do to Redis, without what they do for a Redis that forgets. Times are in seconds, and
stand still until `now` is set.
"""

from dataclasses import dataclass, field

LEASE, GRACE = 300_000, 100_000


@dataclass(frozen=True)
class Told:
    """A change of a user, to be told by the node that gets it."""

    user: str
    seq: int
    online: bool
    attempt: int


@dataclass
class Claim:
    """A node is to tell the head of a mailbox."""

    node: str
    attempt: int


@dataclass
class User:
    """
    Attributes:
        route: How many connections each node has.
        mailbox: Changes to tell, as number and kind; the claim is that of the first.
        due: When it is decided that the user has gone, if that is so then.
    """

    route: dict[str, int] = field(default_factory=dict)
    seq: int = 0
    online: bool = False
    mailbox: list[tuple[int, bool]] = field(default_factory=list)
    claim: Claim | None = None
    told: tuple[int, bool] = (0, False)
    due: int | None = None

    @property
    def is_here(self) -> bool:
        return bool(self.route)


class Presence:
    """
    Attributes:
        leases: Of the nodes that count, when each ends.
        dead: Nodes that do not count any more and may still have something.
        beat: When any node has renewed its lease.
    """

    def __init__(self, users: tuple[str, ...]) -> None:
        self.now = 0
        self.users = {user: User() for user in users}
        self.leases: dict[str, int] = {}
        self.dead: list[str] = []
        self.beat: int | None = None

    def join(self, node: str) -> None:
        self.leases[node] = self.now + LEASE

    def leave(self, node: str) -> None:
        if self.leases.pop(node, None) is not None:
            self.dead.append(node)

    def renew(self, node: str) -> tuple[int, int] | None:
        """Return how many claims and streams the node has; None if it does not count any more."""
        if node not in self.leases:
            return None
        if self._was_deaf:  # nobody could renew: everybody has time once more
            self.leases = {name: max(end, self.now + LEASE) for name, end in self.leases.items()}
            for user in self.users.values():
                user.due = user.due and max(user.due, self.now + GRACE)
        self.beat = self.now
        self.leases[node] = self.now + LEASE
        claims = sum(user.claim is not None and user.claim.node == node for user in self.users.values())
        return claims, sum(node in user.route for user in self.users.values())

    def attach(self, node: str, name: str, count: int, most: int) -> tuple[bool, Told | None] | None:
        """Return whether it was not refused, and what the node is to tell; None if it does not count any more."""
        user = self.users[name]
        if node not in self.leases:
            return None
        if count > user.route.get(node, 0) and sum(user.route.values()) - user.route.get(node, 0) + count > most:
            return False, None
        user.route[node] = count
        if not count:
            del user.route[node]
        return True, self._detect(name, GRACE, node)

    def acknowledge(self, node: str, told: Told) -> Told | None:
        """*node* has told something. Returns what it is to tell next."""
        user = self.users[told.user]
        if user.claim is None or user.claim.node != node or user.mailbox[0][0] != told.seq:
            return None  # another has it by now
        user.told = user.mailbox.pop(0)
        user.claim = None
        if node in self.leases:
            return self._claim(told.user, node, 1) or self._detect(told.user, GRACE, node)
        if not self._claim(told.user, node, 0) and user.is_here != user.online and user.due is None:
            user.due = self.now + GRACE  # whoever reaps looks whether there is more to tell
        return None

    def reap(self, node: str) -> list[Told]:
        """Empty dead nodes, and decide who has gone. Returns what *node* is to tell."""
        if self.leases.get(node, 0) <= self.now or self._was_deaf:
            return []
        for name in [name for name, end in self.leases.items() if end <= self.now]:
            self.leave(name)
        told = [self._take_over(name, dead, node) for dead in self.dead for name in self.users]
        self.dead = []
        due = [name for name, user in self.users.items() if user.due is not None and user.due <= self.now]
        told += [[self._detect(name, 0, node)] for name in due]
        return [one for some in told for one in some if one is not None]

    @property
    def _was_deaf(self) -> bool:
        return self.beat is not None and self.now - self.beat > LEASE / 2

    def _take_over(self, name: str, dead: str, node: str) -> list[Told | None]:
        user, told = self.users[name], []
        if user.claim is not None and user.claim.node == dead:
            told.append(self._claim(name, node, user.claim.attempt + 1))
        if user.route.pop(dead, 0):
            told.append(self._detect(name, GRACE, node))
        return told

    def _detect(self, name: str, grace: int, node: str) -> Told | None:
        """Compare what is so with what was decided."""
        user = self.users[name]
        if user.is_here == user.online:
            user.due = None
        elif not user.is_here and grace:
            user.due = self.now + grace if user.due is None else user.due
        else:
            user.due, user.seq, user.online = None, user.seq + 1, user.is_here
            user.mailbox.append((user.seq, user.online))
            if user.claim is None:
                return self._claim(name, node, 1)
        return None

    def _claim(self, name: str, node: str, attempt: int) -> Told | None:
        user = self.users[name]
        if not user.mailbox:
            return None
        user.claim = Claim(node, attempt)
        return Told(name, *user.mailbox[0], attempt)
