"""
What is told as its newest state, and not kept: a user's jobs, a topic's members. Changes are counted, so that a node
knows when it has missed one; then the state is read as a whole.
"""

from pydantic_core import to_json

from qrsocket.position import Position


class State:
    """
    Attributes:
        position: Of the newest change that is known here; None if nothing is yet.
        is_stale: A change was missed.
    """

    def __init__(self) -> None:
        self.position: Position | None = None
        self.is_stale = False

    def heard(self, position: Position) -> bool:
        """Learn that there was a change at *position*, and return whether it is the next one, with none missed."""
        before = self.position
        if before is None:
            self.position = position
        elif before.epoch == position.epoch and position.offset <= before.offset:
            return False
        elif (before.epoch, before.offset + 1) == position:
            self.position = position
        else:
            self.is_stale = True
        return not self.is_stale

    def compare(self, newest: Position) -> None:
        """Learn that Redis has counted up to *newest*. What is newer than what is known here was missed, even one."""
        if self.position is not None and is_after(newest, self.position):
            self.is_stale = True

    def read(self, position: Position) -> None:
        """Take *position* for that of the state that was, or will be, read."""
        self.position, self.is_stale = position, False


def is_after(one: Position, other: Position) -> bool:
    """Whether *one* is newer. Of different epochs each may be."""
    return one.epoch != other.epoch or one.offset > other.offset


class Members(State):
    """
    Who has joined a topic. Unlike jobs, of which what was heard while they were read is in what was read.

    Attributes:
        users: As known here.
        untold: Those who have come (True) or gone (False) since this node's connections were told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.users: set[str] = set()
        self.untold: dict[str, bool] = {}
        self._listed: bytes | None = None
        self._newest: Position | None = None  # that was heard of since a reading has begun

    def begin_reading(self) -> None:
        self._newest = None

    def heard(self, position: Position) -> bool:
        if self._newest is None or is_after(position, self._newest):
            self._newest = position
        return self.position is not None and super().heard(position)

    def read(self, position: Position) -> None:
        super().read(position)
        self.is_stale = self._newest is not None and is_after(self._newest, position)

    def listed(self, user: str | None) -> bytes:
        """Return the users as JSON, *user* among them: thousands may ask between two changes, and encode nothing."""
        if self._listed is None:
            self._listed = to_json(list(self.users))
        if user is None or user in self.users:
            return self._listed
        return self._listed[:-1] + (b"," if self.users else b"") + to_json(user) + b"]"

    def change(self, joined: list[str], left: list[str]) -> None:
        self._listed = None
        for user in joined:
            self.users.add(user)
            self.untold[user] = True
        for user in left:
            self.users.discard(user)
            self.untold[user] = False

    def replace(self, users: frozenset[str], *, is_certain: bool) -> None:
        """Take *users* for all that there are; if that is not certain, for some of them."""
        left = sorted(self.users - users) if is_certain else []
        self.change(sorted(users - self.users), left)

    def take_untold(self) -> tuple[list[str], list[str]]:
        """Return who has come, and who has gone, since this was asked last."""
        joined = [user for user, is_here in self.untold.items() if is_here]
        left = [user for user, is_here in self.untold.items() if not is_here]
        self.untold.clear()
        return joined, left
