"""What Redis knows of the whole application: nodes, workers, users, queues and the jobs of everybody."""

import asyncio
from typing import Any

import pytest
import redis as redis_py

from qrsocket import clients, status
from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.jobs.census import MOST_SEEN, Card, Scheduled, WorkerSeen
from qrsocket.jobs.table import Answer, Beat, JobKey, Jobs
from qrsocket.keys import Keys, Keyspace
from qrsocket.presence import census as presence
from qrsocket.presence import table
from qrsocket.presence.census import Figures
from qrsocket.roundtrip import Call, run
from qrsocket.settings import get_settings
from qrsocket.status import Status
from qrsocket.streams import Stream, of_user
from tests.clients import PATIENCE
from tests.conftest import Configure
from tests.redis.conftest import GRACE, LEASE, NewNode, Node

FIGURES = Figures("0.1.0", "web1", 7, 1_700_000_000.0, 3, 12.5, 4096, 1, 0.001)
CARD = Card("0.1.0", "box", 8, "prefork", 4, ("celery", "emails"), (Scheduled("nightly", "tidy", "every 60 s"),))


@pytest.fixture(params=["sync", "async"])
def read(request: pytest.FixtureRequest, redis_server: EmbeddedRedis) -> Any:
    """Reads the status, blocking or awaiting: a test that uses it runs once with each."""

    def read(**options: int) -> Status:
        settings = get_settings()
        return status.read(settings, **options) if request.param == "sync" else asyncio.run(_aread(options))

    async def _aread(options: Any) -> Status:
        try:
            return await status.aread(get_settings(), **options)
        finally:
            await clients.aclose()

    return read


def do(call: Call[Any]) -> Any:
    return run(clients.blocking(get_settings()), call, timeout=PATIENCE)


def renew(node: Node, figures: Figures = FIGURES) -> None:
    do(table.renew(node.keys, node.name, lease=LEASE, grace=GRACE, figures=figures.to_json()))


def say(event: str, owner: Stream, id: str, **said: Any) -> Answer:
    """Say *event* of a job."""
    about = {"id": id, "task": "t", "turn": 0, "attempt": 1, "delay_ms": 0, "window_ms": 60_000}
    jobs = Jobs(Keyspace.of(get_settings()).of_stream(owner), get_settings())
    answer: Answer = do(jobs.advance(event, JobKey(owner, id), {**about, **said})).answer
    return answer


def names_of(jobs: list[Any]) -> list[tuple[str | None, str, str]]:
    return [(one.user, one.job["id"], one.job["state"]) for one in jobs]


def all_jobs(state: Any = None, most: int = 100) -> list[Any]:
    return [one for call in status.job_calls(get_settings(), state, most) for one in do(call)]


def test_who_is_there(read: Any, configure: Configure, new_node: NewNode) -> None:
    """
    A node is seen with what it said at its last renewal; a user or a topic counts once, wherever and however often.
    """
    configure(shards=2)
    nodes = [new_node("web1"), new_node("web1", shard=1), new_node("web2"), new_node("web2", shard=1)]
    shards = Keyspace.of(get_settings())
    for node in nodes:
        streams = [of_user(f"user-{number}") for number in range(6)] + ["t:room:7", "c:1", "m:room:7 user-1"]
        node.attach_all([stream for stream in streams if shards.of_stream(stream) is node.keys])
    renew(nodes[0])
    seen = read(names=4)

    assert (6, 1, 4) == (seen.users, seen.topics, len(seen.some_users))
    assert set(seen.some_users) < {f"user-{number}" for number in range(6)}
    assert [("web1", FIGURES), ("web2", None)] == sorted((node.name, node.figures) for node in seen.nodes)
    assert all(0 < node.lease_left <= LEASE for node in seen.nodes)
    assert ("node web2 says nothing of itself: it has just begun, or is of another version",) == seen.troubles


def test_figures_end_with_the_lease(node: Node, redis: redis_py.Redis, keys: Keys) -> None:
    """
    What a node says of itself lives as long as its lease.
    """
    renew(node)

    assert 0 < redis.pttl(keys.figures(node.name)) <= LEASE * 1000


def test_a_node_whose_lease_has_ended(read: Any, node: Node) -> None:
    """
    Where no other node is left to remove it, it is seen, and is what is wrong.
    """
    renew(node)
    node.end_lease()
    [trouble] = read().troubles

    assert f"node {node.name} has not renewed its lease" in trouble


def test_too_many_to_count(read: Any, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Users are not counted where that would hold Redis up, and 0 is not said either.
    """
    node.attach("alice")
    node.attach("bob")
    monkeypatch.setattr(presence, "MOST_COUNTED", 1)

    assert (None, None, ()) == (read().users, read().topics, read(names=5).some_users)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (FIGURES.to_json(), FIGURES),
        (FIGURES.to_json()[:-1] + b',"more":1}', FIGURES),
        (b'{"version":"0.0.1"}', None),
    ],
    ids=["as they were", "a newer version", "an older version"],
)
def test_figures_of_other_versions(said: bytes, expected: Figures | None) -> None:
    """
    While nodes are replaced, what an older one does not say is missing, and what a newer one says besides is ignored.
    """
    assert expected == Figures.from_json(said)


def test_workers(read: Any, redis: redis_py.Redis, keys: Keys) -> None:
    """
    A worker is seen as it said it is for as long as it lives, and then forgotten.
    """
    jobs = Jobs(keys, get_settings())
    for name in ("celery@a", "celery@b"):
        do(jobs.announce(["celery"], {}, name, CARD.to_json()))
    [alive, _] = sorted(read().workers, key=lambda one: one.name)
    redis.hset(keys.workers, "celery@a", b"1000 " + CARD.to_json())

    assert WorkerSeen("celery@a", alive.lease_left, CARD) == alive
    assert 0 < alive.lease_left <= get_settings().lease
    assert ["celery@b"] == [worker.name for worker in read().workers]
    do(jobs.announce(["celery"], {}, "celery@c", CARD.to_json()))
    assert {b"celery@b", b"celery@c"} == redis.hgetall(keys.workers).keys()


def test_jobs_by_state_and_queues(read: Any, configure: Configure, redis: redis_py.Redis) -> None:
    """
    Jobs of all users and shards are counted; a queue with jobs that no worker consumes is what is wrong.
    """
    configure(shards=3)
    owners = [of_user(f"user-{number}") for number in range(6)]
    for number, owner in enumerate(owners):
        say("queued", owner, f"j{number}", queue="imports")
    for number in range(3):
        say("started", owners[number], f"j{number}", run="r")
    say("ended", owners[0], "j0", run="r", state="failed", error="why")
    shard = Keyspace.of(get_settings()).of_stream(owners[5])
    redis.zincrby(shard.line("imports"), -180_000, f"j5 {owners[5]}")
    seen = read()

    assert ({"queued": 3, "started": 2, "failed": 1}, 0) == (seen.jobs, seen.others)
    assert ("queue imports has no worker: 3 waiting, the first for 3 min",) == seen.troubles
    do(Jobs(shard, get_settings()).announce(["imports"], {}))
    assert ((), True) == (read().troubles, read().queues[0].is_consumed)


def test_no_worker_for_what_was_begun(read: Any, keys: Keys) -> None:
    """
    Jobs that wait to be run again, while no worker is there, are what is wrong.
    """
    say("queued", "u:alice", "a")
    say("started", "u:alice", "a", run="r")
    say("ended", "u:alice", "a", run="r", state="requeued")

    assert "no worker is there: 1 that another one had begun wait to be run again" in read().troubles
    do(Jobs(keys, get_settings()).announce(["celery"], {}, "celery@a", CARD.to_json()))
    assert () == read().troubles


def test_jobs_of_everybody(redis_server: EmbeddedRedis) -> None:
    """
    They are listed with their users, running ones first and then the newest that have ended, and without results.
    """
    for id, user in (("a", "alice"), ("b", "bob"), ("c", "carol")):
        say("queued", of_user(user), id)
    say("started", "u:bob", "b", run="r")
    say("started", "u:carol", "c", run="r")
    say("ended", "u:carol", "c", run="r", state="succeeded", result=b"[1]".decode())

    assert [("bob", "b", "started"), ("alice", "a", "queued"), ("carol", "c", "succeeded")] == names_of(all_jobs())
    assert [("alice", "a", "queued")] == names_of(all_jobs("queued"))
    assert [("bob", "b", "started")] == names_of(all_jobs(most=1))
    assert all("result" not in one.job for one in all_jobs())


@pytest.mark.parametrize("comes_back", ["its worker was frozen", "another has it"])
def test_a_job_that_comes_back(keys: Keys, redis: redis_py.Redis, comes_back: str) -> None:
    """
    A job that was taken for lost is listed as ended, and not any more when a worker goes on with it.
    """
    say("queued", "u:alice", "a")
    say("started", "u:alice", "a", run="r")
    assert Answer.OK is say("give_up", "u:alice", "a")
    lost = names_of(all_jobs())
    if comes_back == "another has it":
        say("started", "u:alice", "a", run="r2")
    else:
        do(Jobs(keys, get_settings()).beat([Beat(JobKey("u:alice", "a"), "r", None)]))

    assert [("alice", "a", "lost")] == lost
    assert [("alice", "a", "started")] == names_of(all_jobs())
    assert 0 == redis.zcard(keys.ended)


def test_what_is_kept_of_jobs_that_have_ended(keys: Keys, redis: redis_py.Redis) -> None:
    """
    The newest thousand are known, and for as long as the last state of a job is kept.
    """
    redis.zadd(keys.ended, {f"old{number} u:alice": number for number in range(MOST_SEEN)})
    say("ended", "u:alice", "a", run="r", state="succeeded")

    assert 901 == redis.zcard(keys.ended)
    assert redis.zscore(keys.ended, "a u:alice")
    assert redis.zscore(keys.ended, "old99 u:alice") is None
    assert 0 < redis.pttl(keys.ended) <= 1000 * get_settings().job_seconds
    assert [("alice", "a", "succeeded")] == names_of(all_jobs())


def test_giving_up_a_job(redis_server: EmbeddedRedis) -> None:
    """
    A job of which nothing will be heard is lost when somebody says so; one that has ended stays as it is.
    """
    say("queued", "u:alice", "waits")
    say("ended", "u:alice", "over", run="r", state="failed")

    assert (Answer.OK, Answer.OVER, Answer.UNKNOWN) == tuple(
        say("give_up", "u:alice", id) for id in ("waits", "over", "none")
    )
    assert {("alice", "waits", "lost"), ("alice", "over", "failed")} == set(names_of(all_jobs()))


def test_whose_a_job_is(configure: Configure, redis_server: EmbeddedRedis) -> None:
    """
    It is found by its id alone, whether it has ended or not, and not by the beginning of one.
    """
    configure(shards=2)
    say("queued", "u:alice", "job-1")
    say("ended", "u:bob", "job-2", run="r", state="failed")

    def owners(id: str) -> list[str]:
        return [owner for call in status.owner_calls(get_settings(), id) for owner in do(call)]

    assert (["u:alice"], ["u:bob"], []) == (owners("job-1"), owners("job-2"), owners("job"))
