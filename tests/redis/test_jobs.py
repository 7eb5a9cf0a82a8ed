"""The state machine of a job: which word counts, what its owner is told, and what is decided when no word comes."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import redis as redis_py

from qrsocket import events
from qrsocket.celery.reporting import report
from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.events import JobChanged
from qrsocket.fanout.history import tops
from qrsocket.fanout.publish import publish
from qrsocket.jobs.census import census
from qrsocket.jobs.table import Advanced, Answer, Beat, JobKey, Jobs
from qrsocket.keys import Keys
from qrsocket.message import Kind, Message
from qrsocket.presence import table
from qrsocket.roundtrip import Call, run
from qrsocket.settings import get_settings
from qrsocket.streams import Stream, of_jobs
from tests.clients import PATIENCE
from tests.conftest import Configure, RoundTrip
from tests.redis.conftest import LEASE, Node, now_ms

ALICE: Stream = "u:alice"
JOBS = of_jobs(ALICE)
KEY = JobKey(ALICE, "j1")


class Scene:
    """One job of alice, who is online at one node."""

    def __init__(self, client: redis_py.Redis, keys: Keys, node: Node) -> None:
        self.client, self.keys, self.node = client, keys, node
        self.jobs = Jobs(keys, get_settings())
        self._untold: list[tuple[str, str]] = []
        self._counted: list[str] = []
        self._offset: int | None = None
        node.attach("alice")
        self.node.envelopes()
        self.do(self.jobs.reap())  # the first look of all decides nothing

    def do(self, call: Call[Any]) -> Any:
        return run(self.client, call, timeout=PATIENCE)

    def say(self, event: str, *, turn: int = 0, **said: Any) -> Advanced:
        about = {"id": "j1", "task": "t", "turn": turn, "attempt": turn + 1, "delay_ms": 0, "window_ms": 60_000}
        advanced: Advanced = self.do(self.jobs.advance(event, KEY, {**about, **said}))
        return advanced

    def beat(self, token: str, **progress: Any) -> Answer:
        answers: list[Answer] = self.do(self.jobs.beat([Beat(KEY, token, progress or None)]))
        return answers[0]

    def told(self) -> list[tuple[str, str]]:
        """Return what the node was told since the last time: kind of envelope, and state."""
        self._take_envelopes()
        told, self._untold = self._untold, []
        return told

    def counted(self) -> list[str]:
        """Return the states that were counted so far, of which a node would notice that it has missed one."""
        self._take_envelopes()
        return self._counted

    def _take_envelopes(self) -> None:
        for envelope in self.node.envelopes():
            state, [(stream, offset)] = json.loads(envelope.message.payload)["job"]["state"], envelope.recipients
            self._untold.append((envelope.message.kind, state))
            if envelope.message.kind is not Kind.JOB:
                assert (ALICE, None) == (stream, offset)
                continue
            assert JOBS == stream
            assert self._offset is None or offset == self._offset + 1
            self._offset = offset
            self._counted.append(state)

    def shown(self) -> dict[str, Any] | None:
        found = self.do(self.jobs.listed(ALICE, "j1"))
        return found[0] if found else None

    def forget(self) -> None:
        """Let Redis forget everything; the node comes back."""
        self.client.flushall()
        self.do(table.join(self.keys, self.node.name, lease=LEASE, epoch=""))
        self.node.attach("alice")
        self.node.envelopes()

    def later(self, seconds: float) -> None:
        """Let *seconds* pass, in which others have renewed, and reap."""
        self.do(self.jobs.reap())
        for member, at in self.client.zrange(self.keys.due, 0, -1, withscores=True):
            self.client.zadd(self.keys.due, {member: at - seconds * 1000})
        while self.do(self.jobs.reap()).more:
            pass


@pytest.fixture
def scene(redis: redis_py.Redis, keys: Keys, node: Node) -> Scene:
    return Scene(redis, keys, node)


def test_a_quick_worker(scene: Scene) -> None:
    """
    When the worker is quicker than the word that the job was queued, that is told first all the same, and once.
    """
    scene.say("started", run="r1")
    scene.say("ended", run="r1", state="succeeded")

    assert Answer.OVER is scene.say("queued").answer
    assert [("s", "queued"), ("s", "started"), ("s", "succeeded")] == scene.told()
    assert ["queued", "started", "succeeded"] == scene.counted()


def test_a_message_that_is_thrown_away_at_once(scene: Scene) -> None:
    """
    A job that was revoked, and comes to a worker before the word that it was queued, is told as both.
    """
    scene.say("ended", state="cancelled", reason="revoked")

    assert Answer.OVER is scene.say("queued").answer
    assert ["queued", "cancelled"] == scene.counted()


def test_a_word_that_is_said_again(scene: Scene) -> None:
    """
    What is said again, since an answer was lost, changes nothing and is not told again.
    """
    for event, said in (("queued", {}), ("started", {"run": "r1"}), ("ended", {"run": "r1", "state": "failed"})):
        first, second = scene.say(event, **said), scene.say(event, **said)
        assert first.fence == second.fence

    assert ["queued", "started", "failed"] == scene.counted()


def test_only_the_last_run_counts(scene: Scene) -> None:
    """
    A run that another has taken the place of says nothing any more: neither progress nor its end.
    """
    first = scene.say("started", run="r1")
    second = scene.say("started", run="r2")

    assert first.fence < second.fence
    assert Answer.STALE is scene.beat("r1", done=1)
    assert Answer.STALE is scene.say("ended", run="r1", state="failed").answer
    assert Answer.OK is scene.say("ended", run="r2", state="succeeded").answer
    assert ["queued", "started", "requeued", "started", "succeeded"] == scene.counted()


def test_a_replacement_is_no_retry(scene: Scene) -> None:
    """
    A task that takes the place of one, and begins before the word that it was queued, was queued again, not retried.
    """
    scene.say("started", run="r1")
    scene.say("started", run="r2", turn=1_000_000, attempt=1)

    assert ["queued", "started", "requeued", "started"] == scene.counted()


def test_a_retry_ends_the_attempt_before(scene: Scene) -> None:
    """
    Once an attempt has queued the next, its own end is none; a message of it that comes late begins nothing.
    """
    scene.say("started", run="r1")
    scene.say("queued", turn=1)

    assert Answer.STALE is scene.say("ended", run="r1", state="failed").answer
    assert Answer.STALE is scene.say("started", run="r3").answer
    assert Answer.OK is scene.say("started", run="r2", turn=1).answer
    assert ["queued", "started", "retrying", "started"] == scene.counted()


@pytest.mark.parametrize(
    ("is_late", "states"), [(False, ["lost"]), (True, ["requeued", "lost"])], ids=["early", "late"]
)
def test_no_sign_of_life(scene: Scene, is_late: bool, states: list[str]) -> None:
    """
    A run that is not renewed for a lease is over: for good, or until the broker gives the job to another worker; if it
    does not, in the end for good.
    """
    scene.say("started", run="r1", is_late=is_late)
    scene.later(get_settings().lease - 1)
    assert ["queued", "started"] == scene.counted()
    scene.later(2)
    scene.later(61)

    assert ["queued", "started", *states] == scene.counted()
    assert 0 == scene.client.zcard(scene.keys.due)


def test_observers_are_told_of_what_is_decided(scene: Scene) -> None:
    """
    A process that looks after others' jobs learns which are lost.
    """
    scene.say("started", run="r1", is_late=False)
    for member, at in scene.client.zrange(scene.keys.due, 0, -1, withscores=True):
        scene.client.zadd(scene.keys.due, {member: at - 1000 * (get_settings().lease + 1)})
    overdue = scene.do(scene.jobs.reap())

    assert (False, [(ALICE, "j1", "lost")]) == (
        overdue.more,
        [(owner, job["id"], job["state"]) for owner, job in overdue.jobs],
    )


def test_observers_are_told_of_each_state(scene: Scene, redis_server: EmbeddedRedis) -> None:
    """
    By the process that reports it, as Redis has taken it: with whose job it is, and how long it has waited and run.
    """
    seen: list[events.Event] = []
    about = {"id": "j1", "task": "t", "turn": 0, "attempt": 1, "delay_ms": 0, "window_ms": 60_000}
    with events.observed(SimpleNamespace(on_event=seen.append)):
        for word, said in (("queued", {}), ("started", {"run": "r1"}), ("ended", {"run": "r1", "state": "failed"})):
            report(get_settings(), word, KEY, about | said)
        report(get_settings(), "ended", KEY, about | {"run": "r1", "state": "failed"})  # it is over already
    changed = [event for event in seen if isinstance(event, JobChanged)]

    assert [("j1", "t", "alice", state, 1) for state in ("queued", "started", "failed")] == [
        (event.job, event.task, event.user, event.state, event.attempt) for event in changed
    ]
    assert changed[0].seconds is None
    assert all(0 <= event.seconds < PATIENCE for event in changed[1:] if event.seconds is not None)
    assert None not in [event.seconds for event in changed[1:]]


@pytest.mark.parametrize("is_late", [False, True], ids=["early", "late"])
def test_the_dead_speaks(scene: Scene, is_late: bool) -> None:
    """
    A run that was only frozen is told again when it renews, and ends as it ends.
    """
    scene.say("started", run="r1", is_late=is_late)
    scene.later(get_settings().lease + 1)
    taken_for = scene.counted()[-1]

    assert Answer.OK is scene.beat("r1")
    assert Answer.OK is scene.say("ended", run="r1", state="succeeded").answer
    assert [taken_for, "started", "succeeded"] == scene.counted()[-3:]


def test_redis_was_away(scene: Scene) -> None:
    """
    When nobody could renew since Redis was away, every run gets a lease once more.
    """
    scene.say("started", run="r1")
    scene.later(0)
    scene.client.hincrby(scene.keys.server, "jobs_beat", -20_000)
    for member, at in scene.client.zrange(scene.keys.due, 0, -1, withscores=True):
        scene.client.zadd(scene.keys.due, {member: at - 20_000})
    scene.do(scene.jobs.reap())
    scene.do(scene.jobs.reap())

    assert ["queued", "started"] == scene.counted()


def test_redis_forgot(scene: Scene) -> None:
    """
    A run of a job that Redis forgot says so, and is known again with what it has done; its user is not told again.
    """
    scene.say("started", run="r1")
    scene.forget()

    assert Answer.UNKNOWN is scene.beat("r1", done=1)
    assert 7 == scene.say("started", run="r1", fence=7, done=3, total=4).fence
    shown = scene.shown()
    assert shown is not None
    assert ("started", 75) == (shown["state"], shown["percent"])
    assert [] == scene.told()


def test_an_end_whose_start_was_not_heard_of(scene: Scene) -> None:
    """
    A run that could not say that it began, and says that it ended, is told as both.
    """
    scene.say("queued")
    assert Answer.OK is scene.say("ended", run="r1", state="succeeded").answer
    assert ["queued", "started", "succeeded"] == scene.counted()


@pytest.mark.parametrize("state", ["cancelled", "timeout", "lost"])
def test_another_delivery_is_thrown_away(scene: Scene, state: str) -> None:
    """
    A message that is delivered a second time, and is expired or revoked by then, says nothing of the run of the first;
    nor does another worker that loses a process.
    """
    scene.say("started", run="r1", worker="a@host")

    assert Answer.STALE is scene.say("ended", state=state).answer
    assert Answer.STALE is scene.say("ended", state=state, worker="b@host").answer
    assert Answer.OK is scene.say("ended", state=state, worker="a@host").answer
    assert ["queued", "started", state] == scene.counted()


def test_a_cancelled_job_is_remembered_as_long_as_its_message(scene: Scene) -> None:
    """
    A job that was cancelled while it waited for a day is known when its message comes to a worker at last; it is listed
    no longer than others.
    """
    scene.say("queued", delay_ms=24 * 3600 * 1000)
    scene.say("cancel")
    lives_for = scene.client.pttl(scene.keys.record(*KEY))
    scene.client.hincrby(scene.keys.record(*KEY), "ended_at", -4_000_000)

    assert 24 * 3600 * 1000 < lives_for
    assert [] == scene.do(scene.jobs.listed(ALICE))
    assert Answer.OVER is scene.say("started", run="r1").answer


def test_a_job_that_runs_is_listed_whatever_else_was(scene: Scene) -> None:
    """
    A job that takes long is listed though hundreds have come and gone since.
    """
    scene.say("started", run="r1")
    for number in range(600):
        about = {"id": f"s{number}", "task": "t", "turn": 0, "attempt": 1, "state": "succeeded"}
        scene.do(scene.jobs.advance("ended", JobKey(ALICE, f"s{number}"), about))
        if number < 500:
            scene.client.delete(scene.keys.record(ALICE, f"s{number}"))

    assert "j1" in [job["id"] for job in scene.do(scene.jobs.listed(ALICE))]


def test_cancel_while_it_waits(scene: Scene) -> None:
    """
    A job that waits is cancelled at once, and does not begin.
    """
    scene.say("queued")

    assert (Answer.OK, "cancelled") == _word(scene.say("cancel"))
    assert (Answer.OVER, "cancelled") == _word(scene.say("started", run="r1"))
    assert (Answer.OVER, "cancelled") == _word(scene.say("cancel"))
    assert ["queued", "cancelled"] == scene.counted()


@pytest.mark.parametrize("how", ["end", "retry", "death"])
def test_cancel_while_it_runs(scene: Scene, how: str) -> None:
    """
    A run hears that it is to stop. It is cancelled when it has stopped, would be retried, or is dead.
    """
    scene.say("started", run="r1", is_late=True)
    cancelled = scene.say("cancel")
    assert cancelled.job is not None
    assert ("started", True) == (cancelled.job["state"], cancelled.job["cancelling"])
    assert Answer.CANCEL is scene.beat("r1")
    if how == "end":
        scene.say("ended", run="r1", state="cancelled")
    elif how == "retry":
        scene.say("queued", turn=1)
    else:
        scene.later(get_settings().lease + 1)

    assert ["queued", "started", "cancelled"] == scene.counted()


def test_progress_is_not_kept(scene: Scene) -> None:
    """
    How far a job is goes to who looks on, and what comes later is shown with it; it is not counted.
    """
    scene.say("started", run="r1")
    for done in range(300):
        scene.beat("r1", done=done, total=300, message="reading")

    assert ["queued", "started"] == scene.counted()
    assert [("g", "started")] * 300 == scene.told()[2:]
    shown = scene.shown()
    assert shown is not None
    assert (299, 300, 99, "reading") == tuple(shown[name] for name in ("done", "total", "percent", "message"))


def test_jobs_push_out_no_messages(scene: Scene) -> None:
    """
    Neither states, nor progress, nor what jobs write take places among the messages that are kept for a user, and none
    changes the position there: 300 quick jobs leave a message where it is.
    """
    run(scene.client, publish(scene.keys, Message(Kind.JSON, b'"paid"'), "m1", [ALICE]), timeout=PATIENCE)
    before = scene.do(tops(scene.keys, [ALICE]))
    for number in range(300):
        about = {"id": f"s{number}", "task": "t", "turn": 0, "attempt": 1, "state": "succeeded"}
        scene.do(scene.jobs.advance("ended", JobKey(ALICE, f"s{number}"), about))
    scene.say("started", run="r1")
    scene.beat("r1", done=1)
    scene.do(scene.jobs.write(KEY, "r1", 1, "x"))

    assert [b'"paid"'] == [fields[b"p"] for _, fields in scene.client.xrange(scene.keys.history(ALICE))]
    assert before == scene.do(tops(scene.keys, [ALICE]))
    assert not scene.client.exists(scene.keys.history(JOBS))


def test_states_are_counted_for_who_is_away(scene: Scene) -> None:
    """
    A state is counted whether somebody hears it or not: a node that has the user back is told where the jobs are.
    """
    before = scene.node.attach_all([ALICE]).attached[0]
    scene.node.attach_all([ALICE], here=0)
    scene.say("queued")
    scene.say("started", run="r1")
    after = scene.node.attach_all([ALICE]).attached[0]

    assert before is not None
    assert after is not None
    assert (2, 0) == (after.jobs_top.offset - before.jobs_top.offset, after.top.offset - before.top.offset)
    assert {JOBS: after.jobs_top} == scene.do(tops(scene.keys, [JOBS]))


def test_jobs_of_a_connection_without_a_user(scene: Scene) -> None:
    """
    They are told to that connection alone.
    """
    scene.node.attach_stream("c:x")
    about = {"id": "j2", "task": "t", "turn": 0, "attempt": 1, "delay_ms": 0}
    scene.do(scene.jobs.advance("queued", JobKey("c:x", "j2"), about))

    assert ["j:c:x"] == [stream for envelope in scene.node.envelopes() for stream, _ in envelope.recipients]


def test_sequence_numbers_only_grow(scene: Scene) -> None:
    """
    Each change has a higher number than the one before, also after Redis forgot the job.
    """
    numbers = []
    scene.say("started", run="r1")
    for done in range(5):
        scene.beat("r1", done=done)
    numbers += [json.loads(envelope.message.payload)["job"]["seq"] for envelope in scene.node.envelopes()]
    scene.forget()
    while now_ms(scene.client) <= numbers[-1]:  # changes within one ms are ahead of the clock
        pass
    scene.say("started", run="r1", fence=1)
    scene.beat("r1", done=7)
    numbers += [json.loads(envelope.message.payload)["job"]["seq"] for envelope in scene.node.envelopes()]

    assert 8 == len(numbers)
    assert sorted(set(numbers)) == numbers


def test_only_the_states_that_are_wanted(scene: Scene) -> None:
    """
    States that the task does not tell are known all the same.
    """
    scene.say("queued", only=" succeeded failed ")
    scene.say("started", run="r1")
    scene.say("ended", run="r1", state="succeeded", result='{"rows":3}')

    assert ["succeeded"] == scene.counted()
    shown = scene.shown()
    assert shown is not None
    assert ({"rows": 3}, 100) == (shown["result"], shown["percent"])


@pytest.mark.parametrize("expires", [False, True])
def test_a_job_that_nobody_takes(scene: Scene, configure: Configure, expires: bool) -> None:
    """
    A job that no worker takes is over when it expires, or `job_wait_seconds` after it was due: a day, or less.
    """
    assert 24 * 3600 == get_settings().job_wait_seconds
    configure(job_wait_seconds=60)
    scene.jobs = Jobs(scene.keys, get_settings())
    scene.say("queued", delay_ms=10_000, **({"expires_ms": 5_000} if expires else {}))
    scene.later(4 if expires else 69)
    assert ["queued"] == scene.counted()
    scene.later(2)

    assert ["queued", "cancelled" if expires else "lost"] == scene.counted()


def announce(scene: Scene, tasks: dict[str, bytes], *queues: str) -> None:
    scene.do(scene.jobs.announce(queues, tasks))


@pytest.mark.parametrize(
    ("announced", "states"),
    [
        ({}, ["queued", "started", "succeeded"]),
        ({"t": b""}, []),
        ({"t": b"{}"}, ["queued", "started", "succeeded"]),
        ({"t": b'{"title": "T", "only": " succeeded "}'}, ["succeeded"]),
    ],
    ids=["nobody has said", "not watched", "watched", "in part"],
)
def test_a_job_whose_task_is_only_named(scene: Scene, announced: dict[str, bytes], states: list[str]) -> None:
    """
    A job that was queued by who does not have its task is told of as workers have said, and to its end if none has.
    """
    announce(scene, announced)
    scene.say("queued", by_name=True)
    title = (scene.shown() or {}).get("title")
    scene.say("started", run="r1", if_told=announced in ({}, {"t": b""}))
    scene.say("ended", run="r1", state="succeeded", if_told=announced in ({}, {"t": b""}))

    assert states == scene.counted()
    assert ("T" if b"title" in announced.get("t", b"") else None) == title


def test_a_worker_that_is_quicker_than_a_name(scene: Scene) -> None:
    """
    The word that a job was queued comes to nothing when a worker has it already and its task is not watched.
    """
    assert Answer.UNKNOWN is scene.say("started", run="r1", if_told=True).answer
    assert Answer.UNKNOWN is scene.say("queued", by_name=True).answer
    assert Answer.UNKNOWN is scene.say("ended", run="r1", state="failed", if_told=True).answer
    assert scene.shown() is None


def test_a_run_that_redis_forgot_and_that_was_told_of_by_name(scene: Scene) -> None:
    """
    Its worker makes it known again, as any other.
    """
    scene.say("queued", by_name=True)
    scene.say("started", run="r1", if_told=True)
    scene.forget()

    assert Answer.OK is scene.say("started", run="r1", if_told=True, fence=7).answer


def test_queues_and_who_consumes_them(scene: Scene) -> None:
    """
    Redis knows which queues jobs wait in, how many and since when, and which are consumed by a worker that lives.
    """
    announce(scene, {"t": b""}, "emails", "imports")
    scene.say("queued", queue="import")
    scene.client.zincrby(scene.keys.line("import"), -5_000, "j1 u:alice")
    seen = scene.do(census(scene.jobs))
    [(queue, jobs, seconds)] = seen.lines

    assert ("import", 1, {"emails", "imports"}) == (queue, jobs, seen.consumed)
    assert 5 <= seconds <= 5 + PATIENCE
    scene.client.zincrby(scene.keys.consumed, -1000 * get_settings().lease - 1, "emails")
    assert {"imports"} == scene.do(census(scene.jobs)).consumed
    assert 0 < scene.client.pttl(scene.keys.consumed)
    assert 0 < scene.client.pttl(scene.keys.tasks)


def test_places_in_line(scene: Scene) -> None:
    """
    Who waits for over a second is told how many are before it in its queue, when that changes.
    """
    ids = ("a", "b", "c")
    for id in ids:
        about = {"id": id, "task": "t", "turn": 0, "attempt": 1, "delay_ms": 0, "queue": "q", "run": "r"}
        scene.do(scene.jobs.advance("queued", JobKey(ALICE, id), about))
    scene.told()

    def look(seconds: float = 2) -> list[tuple[str, int]]:
        for member, at in scene.client.zrange(scene.keys.line("q"), 0, -1, withscores=True):
            scene.client.zadd(scene.keys.line("q"), {member: at - seconds * 1000})
        scene.client.hset(scene.keys.server, "lines_at", 0)
        scene.do(scene.jobs.reap())
        scene.client.hset(scene.keys.server, "lines_at", 0)
        scene.do(scene.jobs.reap())
        envelopes = [json.loads(envelope.message.payload)["job"] for envelope in scene.node.envelopes()]
        return [(job["id"], job["place"]) for job in envelopes if job["state"] == "waiting"]

    assert [] == look(0)
    assert [("a", 0), ("b", 1), ("c", 2)] == look()
    assert [] == look()
    scene.do(scene.jobs.advance("cancel", JobKey(ALICE, "a")))
    assert [("b", 0), ("c", 1)] == look()


def test_ended_jobs_are_kept_for_a_while(scene: Scene) -> None:
    """
    The last state of a job outlives it by `job_seconds`, and is then gone from the list as well.
    """
    scene.say("started", run="r1")
    scene.say("ended", run="r1", state="succeeded")
    lives_for = scene.client.pttl(scene.keys.record(*KEY))
    scene.client.delete(scene.keys.record(*KEY))

    assert get_settings().job_seconds - 10 < lives_for / 1000 <= get_settings().job_seconds
    assert [] == scene.do(scene.jobs.listed(ALICE))
    assert 0 == scene.client.zcard(scene.keys.jobs(ALICE))


async def test_nobody_else_finds_a_job(scene: Scene, roundtrip: RoundTrip) -> None:
    """
    A job is known by its owner and its id together: with the id alone another user can neither see nor cancel it.
    """
    scene.say("started", run="r1")

    assert [] == await roundtrip(scene.jobs.listed("u:mallory", "j1"))
    assert Answer.UNKNOWN is (await roundtrip(scene.jobs.advance("cancel", JobKey("u:mallory", "j1")))).answer
    assert ["j1"] == [job["id"] for job in await roundtrip(scene.jobs.listed(ALICE))]


def test_what_a_job_writes(scene: Scene) -> None:
    """
    Pieces are numbered, sent once though said twice, and begin anew with another run.
    """
    scene.say("started", run="r1")
    scene.told()

    def write(run: str, number: int, text: str) -> Answer:
        answer: Answer = scene.do(scene.jobs.write(KEY, run, number, text))[0]
        return answer

    answers = [write("r1", 1, "one "), write("r1", 1, "one "), write("r1", 2, "two ")]
    first = scene.do(scene.jobs.read(KEY, 0))
    scene.say("started", run="r2")
    answers += [write("r1", 3, "late "), write("r2", 1, "ONE ")]

    assert [Answer.OK, Answer.OK, Answer.OK, Answer.STALE, Answer.OK] == answers
    assert [{"n": 1, "text": "one "}, {"n": 2, "text": "two "}] == first
    assert [{"n": 3, "text": "ONE ", "anew": True}] == scene.do(scene.jobs.read(KEY, 0))
    assert [] == scene.do(scene.jobs.read(KEY, 3))


def test_of_what_a_job_writes_the_end_is_kept(scene: Scene) -> None:
    """
    Of what a job writes the last MiB is kept; nothing is written for one that is over.
    """
    scene.say("started", run="r1")
    for number in range(1, 41):
        scene.do(scene.jobs.write(KEY, "r1", number, "x" * 32_768))
    kept = scene.do(scene.jobs.read(KEY, 0))
    scene.say("ended", run="r1", state="succeeded")

    assert list(range(9, 29)) == [piece["n"] for piece in kept]
    assert (Answer.STALE, 0) == scene.do(scene.jobs.write(KEY, "r1", 41, "late"))


def test_large_results_are_listed_for_the_newest(scene: Scene) -> None:
    """
    All jobs are listed, within what a page takes in one frame: large results of older ones are left out, and there when
    asked for one.
    """
    result = '"' + "x" * 60_000 + '"'
    for number in range(20):
        about = {"id": f"j{number}", "task": "t", "turn": 0, "attempt": 1, "state": "succeeded", "result": result}
        scene.do(scene.jobs.advance("ended", JobKey(ALICE, f"j{number}"), about))
        scene.client.zadd(scene.keys.jobs(ALICE), {f"j{number}": number})

    listed = scene.do(scene.jobs.listed(ALICE))

    assert [f"j{number}" for number in reversed(range(20))] == [job["id"] for job in listed]
    assert [True] * 4 + [False] * 16 == ["result" in job for job in listed]
    assert [None] * 4 + ["listed"] * 16 == [job.get("result_omitted") for job in listed]
    assert "result_omitted" not in scene.do(scene.jobs.listed(ALICE, "j0"))[0]
    assert "result" in scene.do(scene.jobs.listed(ALICE, "j0"))[0]


def test_no_key_stays_for_ever(scene: Scene) -> None:
    """
    Whatever becomes of a job, all that Redis has of it ends by itself.
    """
    scene.say("queued", queue="q")
    assert 0 < scene.client.pttl(scene.keys.jobs(ALICE))
    assert 0 < scene.client.pttl(scene.keys.record(*KEY))
    scene.say("started", run="r1")
    scene.do(scene.jobs.write(KEY, "r1", 1, "x"))
    scene.say("ended", run="r1", state="succeeded")

    assert 0 < scene.client.pttl(scene.keys.chunks(*KEY))
    assert not scene.client.exists(scene.keys.due, scene.keys.line("q"))


ODD = ("", "x" * 500, "ümlaut", "a b", "a\nb", "{x}")


@pytest.mark.parametrize("id", ODD)
def test_odd_ids(id: str) -> None:
    """
    An id that is no name goes by a digest of it.
    """
    key = JobKey.of(ALICE, id)

    assert key == JobKey.of(ALICE, id)
    assert 32 == len(key.id)


def _word(advanced: Advanced) -> tuple[Answer, Any]:
    return advanced.answer, advanced.job and advanced.job["state"]


def test_a_list_is_bounded(scene: Scene) -> None:
    """
    However many jobs wait, a list has the newest 200; each of the others is found by its id.
    """
    for number in range(450):
        about = {"id": f"w{number}", "task": "t", "turn": 0, "attempt": 1, "delay_ms": 0}
        scene.do(scene.jobs.advance("queued", JobKey(ALICE, f"w{number}"), about))

    listed = scene.do(scene.jobs.listed(ALICE))

    assert 200 == len(listed)
    assert {job["id"] for job in listed} <= {f"w{number}" for number in range(450)}
    assert "queued" == scene.do(scene.jobs.listed(ALICE, "w0"))[0]["state"]


def test_a_number_of_what_redis_forgot(scene: Scene) -> None:
    """
    A job that is known again has a higher number than its owner was told, and not none, though nobody is told anew.
    """
    scene.say("started", run="r1")
    before = scene.shown()
    scene.client.flushall()
    assert before is not None
    while now_ms(scene.client) <= before["seq"]:  # changes within one ms are ahead of the clock
        pass

    scene.say("started", run="r1", fence=7)

    known = scene.shown()
    assert known is not None
    assert before["seq"] < known["seq"]


def test_a_lost_job_that_goes_back_to_its_queue(scene: Scene) -> None:
    """
    A run that was taken for lost says that it stops, and its message is delivered again: the job has not ended.
    """
    scene.say("started", run="r1")
    scene.later(1000)
    lost = scene.shown()
    scene.say("ended", run="r1", state="requeued")
    requeued = scene.shown()

    assert lost is not None
    assert ("lost", True) == (lost["state"], "ended_at" in lost)
    assert requeued is not None
    assert ("requeued", False) == (requeued["state"], "ended_at" in requeued)


def test_a_lost_job_that_goes_on_keeps_what_it_wrote(scene: Scene, redis: redis_py.Redis, keys: Keys) -> None:
    """
    What it had written is kept for as long as it runs, and not only for as long as a lost job is shown.
    """
    scene.say("started", run="r1")
    scene.do(scene.jobs.write(KEY, "r1", 1, "text"))
    scene.later(1000)
    lost = redis.pttl(keys.chunks(*KEY))
    scene.beat("r1")

    assert lost <= get_settings().job_seconds * 1000 < redis.pttl(keys.chunks(*KEY))
