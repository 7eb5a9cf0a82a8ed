"""
Presence in Redis does what the model says, whatever happens in whatever order.

Histories are the same each time; `EXPLORE=2000 pytest tests/redis/test_presence_model.py` tries so many others.
"""

from collections import Counter
from typing import TypeVar

import redis as redis_py
from hypothesis import stateful
from hypothesis import strategies as some

from qrsocket.keys import Keys
from qrsocket.presence import table
from qrsocket.presence.answers import Count, Transition
from qrsocket.roundtrip import Call, run
from qrsocket.streams import of_user
from tests.clients import PATIENCE
from tests.models.histories import tried
from tests.models.presence import GRACE, LEASE, Presence, Told
from tests.redis.conftest import pass_time

T = TypeVar("T")

USERS, NODES = ("ada", "bob"), 4
MOST = 3
# No sum of them is within 1 000 s of a lease, half a lease or a grace: the time that a history takes changes nothing.
PAUSES = (47_000, 101_000, 151_000, 301_000)

a_user, a_node, a_pause = some.sampled_from(USERS), some.integers(0, NODES - 1), some.sampled_from(PAUSES)


class History(stateful.RuleBasedStateMachine):
    """
    Everything is done to Redis and to the model, which answer the same.

    Attributes:
        node: The node in each of four places; who was given up comes back under a new name.
        to_tell: What nodes were given to tell, each with its node.
        told: What was told of each user, in order.
    """

    def __init__(self, client: redis_py.Redis, keys: Keys) -> None:
        super().__init__()
        self.client, self.keys = client, keys
        client.flushdb()
        self.model = Presence(USERS)
        self.names = 0
        self.node = [self._new_node() for _ in range(NODES)]
        self.to_tell: list[tuple[str, Told]] = []
        self.told: dict[str, list[tuple[int, bool]]] = {user: [] for user in USERS}
        self.first: dict[str, int] = {}

    @stateful.rule(place=a_node, user=a_user, count=some.integers(0, MOST))
    def attach(self, place: int, user: str, count: int) -> None:
        node = self.node[place]
        answer = self._do(table.attach(self.keys, node, [Count(of_user(user), count, MOST)], grace=GRACE))
        expected = self.model.attach(node, user, count, MOST)
        if answer is None or expected is None:
            assert answer is expected
            self.node[place] = self._new_node()
            return
        [attached], [is_taken, told] = answer.attached, expected
        assert is_taken == (attached is not None)
        if attached is not None:
            self._is_to_tell(node, [attached.transition] if attached.transition else [], [told] if told else [])
            known = self.model.users[user]
            assert (known.seq > 0, known.online) == (attached.known.seq > 0, attached.known.online)
            assert known.told == (self._number(user, attached.known.told), attached.known.told_online)

    @stateful.rule(chosen=some.integers(0, 20), is_kept=some.booleans())
    def tell(self, chosen: int, is_kept: bool) -> None:
        """A node says that it has told something: what it has, or what is another's by now; perhaps twice."""
        if not self.to_tell:
            return
        node, told = self.to_tell[chosen % len(self.to_tell)]
        if not is_kept:
            self.to_tell.remove((node, told))
        before = self.model.users[told.user].told
        transition = Transition(of_user(told.user), self.first[told.user] + told.seq, told.online, told.attempt)
        following = self._do(table.acknowledge(self.keys, node, transition, grace=GRACE))
        expected = self.model.acknowledge(node, told)
        self._is_to_tell(node, [following] if following else [], [expected] if expected else [])
        if (after := self.model.users[told.user].told) != before:
            self.told[told.user].append(after)

    @stateful.rule(place=a_node)
    def renew(self, place: int) -> None:
        renewed = self._do(table.renew(self.keys, self.node[place], lease=LEASE, grace=GRACE))
        assert (renewed and (renewed.claims, renewed.streams)) == self.model.renew(self.node[place])
        if renewed is None:
            self.node[place] = self._new_node()

    @stateful.rule(place=a_node, after=some.sampled_from((0, *PAUSES)))
    def reap(self, place: int, after: int = 0) -> None:
        self.wait(after)
        node, reaped, more = self.node[place], [], True
        while more:
            step = self._do(table.reap(self.keys, node, grace=GRACE))
            reaped, more = [*reaped, *step.transitions], step.more
        self._is_to_tell(node, reaped, self.model.reap(node))

    @stateful.rule(place=a_node)
    def leave(self, place: int) -> None:
        self._do(table.leave(self.keys, self.node[place]))
        self.model.leave(self.node[place])

    @stateful.rule(seconds=a_pause)
    def wait(self, seconds: int) -> None:
        pass_time(self.client, self.keys, seconds)
        self.model.now += seconds

    @stateful.rule(seconds=a_pause)
    def wait_and_renew(self, seconds: int) -> None:
        """As long as Redis answers, those that live renew often."""
        self.wait(seconds)
        for place in range(NODES // 2):
            self.renew(place)

    @stateful.invariant()
    def is_as_the_model_says(self) -> None:
        for name, user in self.model.users.items():
            stream = of_user(name)
            route = {node.decode(): int(count) for node, count in self.client.hgetall(self.keys.route(stream)).items()}
            mailbox = self.client.lrange(self.keys.transitions(stream), 0, -1)
            holder = self.client.hget(self.keys.claim(stream), "node")
            assert user.route == route
            assert [online for _, online in user.mailbox] == [entry.endswith(b"online") for entry in mailbox]
            assert (user.claim and user.claim.node.encode()) == holder
            assert (user.due is not None) == (self.client.zscore(self.keys.grace, stream) is not None)

    @stateful.invariant()
    def each_is_told_once_and_in_order(self) -> None:
        """What hooks rely on: each change has the next number, and online and offline take turns."""
        for told in self.told.values():
            assert [(number, number % 2 == 1) for number in range(1, len(told) + 1)] == told

    def teardown(self) -> None:
        """Nobody does anything more, and one node lives: in the end what was told is what is so."""
        node = self._new_node()
        self._do(table.renew(self.keys, node, lease=LEASE, grace=GRACE))
        self.model.renew(node)
        self.node[0] = node
        for _ in range(4):
            self.wait(101_000)
            self.renew(0)
            self.reap(0)
            while ours := [chosen for chosen, (holder, _) in enumerate(self.to_tell) if holder == node]:
                self.tell(ours[0], is_kept=False)
            self.is_as_the_model_says()
        self.each_is_told_once_and_in_order()
        for name, user in self.model.users.items():
            assert [] == user.mailbox, name
            assert (user.is_here, user.is_here) == (user.online, user.told[1]), name

    def _new_node(self) -> str:
        self.names += 1
        node = f"n{self.names}"
        self._do(table.join(self.keys, node, lease=LEASE))
        self.model.join(node)
        return node

    def _is_to_tell(self, node: str, given: list[Transition], expected: list[Told]) -> None:
        """The same changes are to be told, and by this node."""
        told = [
            Told(name, self._number(name, one.seq), one.online, one.attempt)
            for one in given
            for name in [one.stream.removeprefix("u:")]
        ]
        assert Counter(expected) == Counter(told)
        self.to_tell += [(node, one) for one in told]

    def _number(self, user: str, seq: int) -> int:
        """Return the number in the model of what Redis counts from the clock."""
        return seq and seq - self.first.setdefault(user, seq - 1)

    def _do(self, call: Call[T]) -> T:
        return run(self.client, call, timeout=PATIENCE)


def test_whatever_happens_to_nodes_and_users(redis: redis_py.Redis, keys: Keys) -> None:
    """
    Four nodes come, go, die and are late, users come to them and leave, what is to be told is told late, twice or by
    who has no right to: Redis holds what the model does, and in the end all was told once, in order and truly.
    """
    tried(lambda: History(redis, keys), steps=40, histories=25)
