"""
A job in Redis does what the model says, whatever is said of it in whatever order.

Histories are the same each time; `EXPLORE=2000 pytest tests/redis/test_jobs_model.py` tries so many others.
"""

import json
from itertools import count
from typing import Any, TypeVar

import redis as redis_py
from hypothesis import stateful
from hypothesis import strategies as some

from qrsocket.jobs.table import Advanced, Beat, JobKey, Jobs
from qrsocket.keys import Keys
from qrsocket.roundtrip import Call, run
from qrsocket.settings import Settings
from tests.clients import PATIENCE
from tests.models.histories import tried
from tests.models.jobs import FINAL, LEASE, OVER, WAIT, WINDOW, Job, Word
from tests.redis.conftest import Node

T = TypeVar("T")

OWNER, NUMBERS = "u:alice", count()
RUNS, WORKERS = ("r1", "r2"), ("", "w1", "w2")
# No sum of them is within 1 000 s of what the model waits for: the time that a history takes changes nothing.
PAUSES = (103_000, 103_000, 151_000)

# Most words are of the message that counts, some of the next one or of one before.
ahead, a_run, a_worker = map(some.sampled_from, ((0, 0, 1, -1), RUNS, WORKERS))
an_end = some.sampled_from(("succeeded", "failed", "timeout", "cancelled", "requeued"))


class History(stateful.RuleBasedStateMachine):
    """All words are said to Redis and to the model, which answer the same and tell the owner the same."""

    def __init__(self, client: redis_py.Redis, keys: Keys, node: Node) -> None:
        super().__init__()
        self.client, self.keys, self.node = client, keys, node
        self.jobs = Jobs(keys, Settings(lease=LEASE, job_wait_seconds=WAIT))
        client.delete(keys.due)
        client.hdel(keys.server, "jobs_beat")
        node.envelopes()  # what a history that failed has left
        self.begin()

    @stateful.precondition(lambda self: self.model.state in FINAL)
    @stateful.rule()
    def begin(self) -> None:
        """Another job: of this one nothing more can come."""
        self.key = JobKey(OWNER, f"j{next(NUMBERS)}")
        self.model = Job()
        self._look(0)
        self.fences: list[int] = []
        self.told: list[str] = []

    @stateful.rule(ahead=ahead, retries=some.integers(0, 1), expires=some.booleans())
    def queued(self, ahead: int, retries: int, expires: bool) -> None:
        turn = self._turn(ahead)
        word = Word(turn, 1 + min(turn, retries))
        advanced = self._say("queued", word, delay_ms=0, **({"expires_ms": WAIT * 1000} if expires else {}))
        self._is_same(advanced, self.model.queued(word, expires=expires))

    @stateful.rule(ahead=ahead, retries=some.integers(0, 1), run=a_run, is_late=some.booleans(), worker=a_worker)
    def started(self, ahead: int, retries: int, run: str, is_late: bool, worker: str) -> None:
        turn = self._turn(ahead)
        word = Word(turn, 1 + min(turn, retries), f"{turn}{run}", is_late, worker)
        advanced = self._say(
            "started", word, run=word.run, is_late=is_late, window_ms=WINDOW * 1000, worker=worker or None
        )
        self._is_same(advanced, self.model.started(word))
        if advanced.answer == "OK" and advanced.fence not in self.fences[-1:]:
            self.fences.append(advanced.fence)

    @stateful.rule(ahead=ahead, run=a_run, worker=a_worker, state=an_end, is_thrown_away=some.sampled_from((0, 0, 1)))
    def ended(self, ahead: int, run: str, worker: str, state: str, is_thrown_away: int) -> None:
        """A run says how it has ended; or who knows only the message says what became of that."""
        turn = self._turn(ahead)
        if is_thrown_away:
            word = Word(turn, 1 + turn, worker=worker, state=state)
        else:
            word = Word(turn, 1 + turn, f"{turn}{run}", state=state)
        said = {"run": word.run or None, "worker": word.worker or None, "window_ms": WINDOW * 1000}
        self._is_same(self._say("ended", word, state=state, **said), self.model.ended(word))

    @stateful.rule(ahead=ahead, run=a_run, is_wanted=some.sampled_from((0, 0, 1)))
    def renew_or_cancel(self, ahead: int, run: str, is_wanted: int) -> None:
        if is_wanted:
            self._is_same(self._do(self.jobs.advance("cancel", self.key)), self.model.cancel())
        self._renew(f"{self._turn(ahead)}{run}")

    @stateful.rule(is_wanted=some.sampled_from((0, 0, 0, 1)))
    def give_up(self, is_wanted: int) -> None:
        """Somebody says that nothing will be heard of it any more."""
        if is_wanted:
            self._is_same(self._do(self.jobs.advance("give_up", self.key)), self.model.give_up())

    def _renew(self, run: str) -> None:
        [answer] = self._do(self.jobs.beat([Beat(self.key, run, None)]))
        assert self.model.renew(run) == answer

    @stateful.rule(after=some.sampled_from((0, *PAUSES)), looks=some.integers(1, 4))
    def reap(self, after: int, looks: int) -> None:
        """Nothing is heard, and somebody looks now and then."""
        for _ in range(looks):
            self._look(after)

    def _look(self, after: int) -> None:
        for member, at in self.client.zrange(self.keys.due, 0, -1, withscores=True):
            self.client.zadd(self.keys.due, {member: at - after * 1000})
        if self.client.hexists(self.keys.server, "jobs_beat"):
            self.client.hincrby(self.keys.server, "jobs_beat", -after * 1000)
        self._do(self.jobs.reap())
        self.model.now += after
        self.model.reap()

    @stateful.invariant()
    def is_as_the_model_says(self) -> None:
        [shown] = self._do(self.jobs.listed(self.key.owner, self.key.id)) or [None]
        assert (shown and shown["state"]) == self.model.state
        if shown is not None:
            assert (shown["attempt"], shown.get("cancelling", False)) == (self.model.attempt, self.model.is_cancelling)
            assert ("ended_at" in shown) == (self.model.state in OVER)
        told = [json.loads(envelope.message.payload)["job"]["state"] for envelope in self.node.envelopes()]
        expected, self.model.told = self.model.told, []
        assert expected == told
        self.told += told

    @stateful.invariant()
    def is_listed_where_it_belongs(self) -> None:
        """Among those that something is decided about, or those that have ended, which is how everybody's are found."""
        member = f"{self.key.id} {self.key.owner}"
        listed = [self.client.zscore(key, member) is not None for key in (self.keys.due, self.keys.ended)]
        assert [self.model.due is not None, self.model.state in OVER] == listed

    @stateful.invariant()
    def is_over_once(self) -> None:
        """What owners rely on: nothing comes after the end, and each run has a higher fence than the one before."""
        assert not any(state in FINAL for state in self.told[:-1])
        assert sorted(set(self.fences)) == self.fences

    def _turn(self, ahead: int) -> int:
        return max(0, self.model.turn + ahead)

    def _say(self, event: str, word: Word, **said: Any) -> Advanced:
        about = {"id": "j1", "task": "t", "turn": word.turn, "attempt": word.attempt}
        return self._do(self.jobs.advance(event, self.key, {**about, **said}))

    def _is_same(self, advanced: Advanced, answer: str) -> None:
        assert answer == advanced.answer

    def _do(self, call: Call[T]) -> T:
        return run(self.client, call, timeout=PATIENCE)


def test_whatever_is_said_of_a_job(redis: redis_py.Redis, keys: Keys, node: Node) -> None:
    """
    Words of three messages and nine runs, of workers that died, of its owner, twice and in the wrong order: what the
    owner is told is what the model says, and nothing comes after the end.
    """
    node.attach("alice")
    node.envelopes()
    tried(lambda: History(redis, keys, node), steps=50, histories=40)
