"""What a node tells Redis of its subscriptions: together where it can be, one after the other where it must be."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from qrsocket.errors import Unavailable
from qrsocket.keys import Keys, Keyspace
from qrsocket.message import Kind, Message
from qrsocket.position import Entry, Missed, Position
from qrsocket.presence import registry as module
from qrsocket.presence.answers import Answer, Attached, Count, Known, Transition
from qrsocket.presence.mailbox import Mailbox
from qrsocket.presence.registry import STREAMS_PER_CALL, Fenced, Registration, Registry
from qrsocket.roundtrip import Call
from qrsocket.settings import Settings
from qrsocket.streams import Stream
from qrsocket.trouble import Trouble
from tests.clients import PATIENCE

TOP = Position("e", 7)


class Asked:
    """
    A call that the far end has been asked.

    Attributes:
        here: The counts that it tells, by stream.
    """

    def __init__(
        self, keys: Keys, node: str, counts: Sequence[Count], since: Sequence[tuple[Stream, Position]]
    ) -> None:
        self.keys, self.node, self.since = keys, node, list(since)
        self.counts = {count.stream: count for count in counts}
        self.here = {count.stream: count.here for count in counts}


class FarEnd:
    """
    A Redis that counts as the script does.

    Attributes:
        asked: The calls, in order.
        held: While it is set, calls wait for `go`.
        fails: Raised by the calls that come, one each.
        revoked: Users whose proofs from before do not count.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.route: Counter[Stream] = Counter()
        self.fails: list[Exception | None] = []
        self.go = asyncio.Event()
        self.go.set()
        self.came = asyncio.Event()
        self.transitions: dict[Stream, Transition] = {}
        self.revoked: dict[Stream, float] = {}

    async def answer(self, asked: Asked) -> Answer | None:
        self.asked.append(asked)
        self.came.set()
        await self.go.wait()
        await asyncio.sleep(0)
        if self.fails and (error := self.fails.pop(0)):
            if isinstance(error, Fenced):
                return None
            raise error
        attached: list[Attached | None] = []
        revoked: dict[Stream, float] = {}
        for stream, here, most, _, issued in asked.counts.values():
            is_too_many = most and here > most and here > self.route[stream]
            if issued is not None and issued < self.revoked.get(stream, 0.0):
                revoked[stream] = self.revoked[stream]
                attached.append(None)
                continue
            if not is_too_many:
                self.route[stream] = here
            known = Known(3, True) if stream.startswith("u:") else Known()
            attached.append(None if is_too_many else Attached(TOP, TOP, known, self.transitions.get(stream)))
        return Answer(attached, [_page(position) for _, position in asked.since], revoked)

    @property
    def streams(self) -> list[set[Stream]]:
        return [set(asked.here) for asked in self.asked]


def _page(since: Position) -> Missed:
    return Missed(TOP, TOP, True, (Entry(since.offset + 1, Message(Kind.JSON, b"%d" % since.offset)),))


class Scene:
    """
    A registry, the subscriptions that are here, and what it has passed on.

    Attributes:
        proofs: Of the users who are here and not in yet, the oldest last.
    """

    def __init__(self, far_end: FarEnd, settings: Settings) -> None:
        self.far_end, self.here = far_end, Counter[Stream]()
        self.transitions: list[Transition] = []
        self.proofs: dict[Stream, list[float]] = {}
        self.tops: list[tuple[Stream, Position]] = []
        self.trouble = Trouble("sockets stay open")
        self.mailbox = Mailbox(self.transitions.append, grace=5, lease=15)
        self.registry = Registry(
            settings,
            lambda stream: self.here[stream],
            lambda stream: self.proofs[stream][-1] if self.proofs.get(stream) else None,
            self.put_out,
            self.mailbox,
            lambda stream, top, _revoked_at: self.tops.append((stream, top)),
            self.trouble,
        )
        self.runs: list[asyncio.Task[None]] = []

    def put_out(self, stream: Stream, revoked_at: float) -> list[Stream]:
        stale = [proof for proof in self.proofs.get(stream, []) if proof < revoked_at]
        self.here[stream] -= len(stale)
        self.proofs[stream] = [proof for proof in self.proofs.get(stream, []) if proof >= revoked_at]
        return [stream] * len(stale)

    def run(self, node: str = "n1") -> asyncio.Task[None]:
        self.runs.append(asyncio.create_task(self.registry.run(node)))
        return self.runs[-1]

    def subscribe(self, *streams: Stream, since: dict[Stream, Position] | None = None) -> "asyncio.Task[Registration]":
        """Have one more subscription of each of *streams*, and register that."""
        self.here.update(streams)
        return asyncio.create_task(self.registry.register(streams, since or {}))


@pytest.fixture
def far_end(monkeypatch: pytest.MonkeyPatch) -> FarEnd:
    far_end = FarEnd()

    def attach(keys: Keys, node: str, counts: Sequence[Count], since: Any, *, grace: float, ring: None) -> Asked:
        return Asked(keys, node, counts, since)

    async def call_redis(_settings: Settings, asked: Call[Any]) -> Any:
        assert isinstance(asked, Asked)
        return await far_end.answer(asked)

    monkeypatch.setattr(module, "attach", attach)
    monkeypatch.setattr(module, "call_redis", call_redis)
    return far_end


@pytest.fixture
async def new_scene(far_end: FarEnd) -> AsyncIterator[Callable[..., Scene]]:
    scenes: list[Scene] = []

    def new(**settings: Any) -> Scene:
        scenes.append(Scene(far_end, Settings(**settings)))
        return scenes[-1]

    yield new
    for run in [run for scene in scenes for run in scene.runs]:
        run.cancel()
        with suppress(asyncio.CancelledError, Fenced):
            await run


@pytest.fixture
async def scene(new_scene: Callable[..., Scene]) -> Scene:
    return new_scene()


async def test_all_that_come_at_one_time_share_a_call(scene: Scene) -> None:
    """
    However many register, it is one call; each gets the answer to its own streams, and to no other.
    """
    scene.run()
    registrations = [scene.subscribe(f"c:{number}", "*", f"u:{number}") for number in range(20)]
    answers = await asyncio.gather(*registrations)

    assert 1 == len(scene.far_end.asked)
    assert 20 == scene.far_end.asked[0].here["*"]
    assert [{f"c:{number}", "*", f"u:{number}"} for number in range(20)] == [set(one.attached) for one in answers]
    assert set() == scene.registry.doubtful


async def test_what_comes_during_a_call_shares_the_next(scene: Scene) -> None:
    """
    While a call is under way others wait, and go together when it has ended.
    """
    scene.run()
    scene.far_end.go.clear()
    first = scene.subscribe("t:a")
    await scene.far_end.came.wait()
    others = [scene.subscribe(f"t:{number}") for number in range(5)]
    for _ in range(5):
        await asyncio.sleep(0)
    under_way = len(scene.far_end.asked)
    scene.far_end.go.set()
    await asyncio.gather(first, *others)

    assert 1 == under_way
    assert [{"t:a"}, {f"t:{number}" for number in range(5)}] == scene.far_end.streams


async def test_a_call_is_bounded(scene: Scene) -> None:
    """
    Thousands that come at once go in calls of about a hundred streams, in the order in which they came.
    """
    scene.run()
    await asyncio.gather(*(scene.subscribe(f"t:{number}") for number in range(250)))

    assert [100, 100, 50] == [len(asked.here) for asked in scene.far_end.asked]
    assert [f"t:{number}" for number in range(250)] == [one for asked in scene.far_end.asked for one in asked.here]
    assert STREAMS_PER_CALL == 100


async def test_one_with_many_streams_goes_in_one_call(scene: Scene) -> None:
    """
    A client that comes back with all its topics is one call, however many they are.
    """
    scene.run()
    streams = [f"t:{number}" for number in range(100)] + [f"m:{number} ada" for number in range(100)]
    answer = await scene.subscribe(*streams)

    assert [set(streams)] == scene.far_end.streams
    assert set(streams) == set(answer.attached)


async def test_of_a_users_connections_one_after_the_other(new_scene: Callable[..., Scene]) -> None:
    """
    Those of one user are counted one by one: of six that come at one time to a limit of four, two are refused, not all.
    """
    scene = new_scene(max_connections_per_user=4)
    scene.run()

    async def connect() -> bool:
        scene.here.update(["u:ada", "*"])
        answer = await scene.registry.register(["u:ada", "*"], {})
        if "u:ada" in answer.attached:
            return True
        scene.here["u:ada"] -= 1  # as the connection does, that is closed
        return False

    taken = await asyncio.gather(*(connect() for _ in range(6)))

    assert (4, 2) == (taken.count(True), taken.count(False))
    assert 4 == scene.far_end.route["u:ada"]
    assert 6 == len(scene.far_end.asked)


async def test_a_user_holds_up_nobody_for_long(scene: Scene) -> None:
    """
    Who is behind a user's second connection goes with it, and not after all of them.
    """
    scene.run()
    registrations = [
        scene.subscribe("u:ada"),
        scene.subscribe("u:bob"),
        scene.subscribe("u:ada"),
        scene.subscribe("u:eve"),
    ]
    await asyncio.gather(*registrations)

    assert [{"u:ada", "u:bob"}, {"u:ada", "u:eve"}] == scene.far_end.streams


async def test_only_users_have_a_limit(new_scene: Callable[..., Scene]) -> None:
    """
    Topics, connections and parts may be any number; nor is a user refused who had a place before a fence.
    """
    scene = new_scene(max_connections_per_user=2)
    scene.registry.returning = {"u:back"}
    scene.run()
    await scene.subscribe("u:ada", "u:back", "t:a", "*", "c:x", "m:a ada")

    assert {"u:ada": 2, "u:back": 0, "t:a": 0, "*": 0, "c:x": 0, "m:a ada": 0} == {
        stream: count.most for stream, count in scene.far_end.asked[0].counts.items()
    }
    assert set() == scene.registry.returning
    await scene.subscribe("u:back")
    assert 2 == scene.far_end.asked[-1].counts["u:back"].most


async def test_the_count_is_that_of_the_call(scene: Scene) -> None:
    """
    What changes while one waits in line is in its count: no count that is older is told after a newer one.
    """
    scene.run()
    scene.far_end.go.clear()
    first = scene.subscribe("t:a")
    await scene.far_end.came.wait()
    second, third = scene.subscribe("t:b"), scene.subscribe("t:b")
    await asyncio.sleep(0)
    scene.here["t:b"] += 5
    scene.far_end.go.set()
    await asyncio.gather(first, second, third)

    assert [{"t:a": 1}, {"t:b": 7}] == [asked.here for asked in scene.far_end.asked]


async def test_each_gets_what_it_missed(scene: Scene) -> None:
    """
    Two clients that come back to one stream from two places get each its own page; a new one gets none.
    """
    scene.run()
    places = [Position("e", 3), Position("e", 5)]
    answers = await asyncio.gather(
        *(scene.subscribe("t:a", "t:b", since={"t:a": place}) for place in places), scene.subscribe("t:a")
    )

    assert [{"t:a": _page(place)} for place in places] + [{}] == [one.missed for one in answers]
    assert [("t:a", place) for place in places] == scene.far_end.asked[0].since


async def test_each_shard_gets_its_own(new_scene: Callable[..., Scene]) -> None:
    """
    With several shards a registration goes to those of its streams, and is answered when all have.
    """
    scene = new_scene(shards=3)
    keyspace = Keyspace.of(Settings(shards=3))
    scene.run()
    streams = [f"t:{number}" for number in range(12)]
    since = {stream: Position("e", number) for number, stream in enumerate(streams)}
    answer = await scene.subscribe(*streams, since=since)

    assert 3 == len(scene.far_end.asked) == len({asked.keys for asked in scene.far_end.asked})
    for asked in scene.far_end.asked:
        assert {asked.keys} == {keyspace.of_stream(stream) for stream in asked.here}
        assert set(asked.here) == {stream for stream, _ in asked.since}
    assert {stream: _page(place) for stream, place in since.items()} == answer.missed
    assert set(streams) == set(answer.attached)


async def test_what_is_learnt_is_passed_on(scene: Scene) -> None:
    """
    Transitions to tell, what is known of users' transitions, and the newest message of each stream that is here.
    """
    scene.run()
    scene.far_end.transitions["u:ada"] = transition = Transition("u:ada", 3, online=True)
    await scene.subscribe("u:ada", "t:a")
    scene.here["t:a"] = 0
    scene.far_end.transitions.clear()
    await scene.registry.register(["t:a"], {})

    assert [transition] == scene.transitions
    assert Known(3, True) == scene.mailbox.known("u:ada")
    assert [("u:ada", TOP), ("t:a", TOP)] == scene.tops
    await scene.subscribe("u:ada")
    assert Known(3, True) == scene.far_end.asked[-1].counts["u:ada"].known


# When it fails.


async def test_a_call_that_fails_leaves_doubt(scene: Scene) -> None:
    """
    All that shared it hear that Redis did not answer, each by an error of its own; the streams are doubtful, and told
    again at the next renewal.
    """
    scene.run()
    scene.far_end.fails = [Unavailable("no answer", 2.0)]
    errors = await asyncio.gather(*(scene.subscribe(f"t:{number}") for number in range(3)), return_exceptions=True)

    assert [("Unavailable", "no answer")] * 3 == [(type(one).__name__, getattr(one, "cause", "")) for one in errors]
    assert 3 == len({id(error) for error in errors})
    assert {"t:0", "t:1", "t:2"} == scene.registry.doubtful
    await scene.registry.tell_doubtful("n1", asyncio.get_running_loop().time() + PATIENCE)
    assert [{"t:0", "t:1", "t:2"}] * 2 == scene.far_end.streams
    assert set() == scene.registry.doubtful


async def test_after_a_failure_it_goes_on(scene: Scene) -> None:
    """
    Who comes later is served: one call that failed ends nothing.
    """
    scene.run()
    scene.far_end.fails = [Unavailable("no answer", 2.0)]
    with pytest.raises(Unavailable):
        await scene.subscribe("t:a")

    assert {"t:b"} == set((await scene.subscribe("t:b")).attached)
    assert {"t:a"} == scene.registry.doubtful


async def test_one_shard_that_fails(new_scene: Callable[..., Scene]) -> None:
    """
    Only what was not told is doubtful; who wanted all of it told has no answer.
    """
    scene = new_scene(shards=3)
    scene.run()
    scene.far_end.fails = [None, Unavailable("no answer", 2.0)]
    streams = [f"t:{number}" for number in range(12)]
    with pytest.raises(Unavailable):
        await scene.subscribe(*streams)

    first, *rest = scene.far_end.asked
    assert set(streams) - set(first.here) == scene.registry.doubtful
    assert 1 == len(rest)


async def test_a_stream_that_changes_during_the_call_is_doubtful_again(scene: Scene) -> None:
    """
    The count that is under way is the old one: the doubt about the new one outlives its answer.
    """
    scene.run()
    scene.far_end.go.clear()
    registration = scene.subscribe("t:a")
    await scene.far_end.came.wait()
    during = set(scene.registry.doubtful)
    scene.registry.doubtful.add("t:a")
    scene.far_end.go.set()
    await registration

    assert (set(), {"t:a"}) == (during, scene.registry.doubtful)


async def test_who_waits_too_long_goes_away(new_scene: Callable[..., Scene]) -> None:
    """
    Without an answer within `redis_timeout` it is Unavailable; its streams are doubtful, and no call is made for it
    alone later.
    """
    scene = new_scene(redis_timeout=0.05)
    with pytest.raises(Unavailable, match="not registered"):
        await scene.subscribe("t:a")
    assert {"t:a"} == scene.registry.doubtful
    scene.run()
    await scene.subscribe("t:b")

    assert [{"t:b"}] == scene.far_end.streams


async def test_who_knows_that_redis_is_away_does_not_wait(scene: Scene) -> None:
    """
    While the keeper cannot reach Redis, nobody finds that out for himself; the streams are told when it is back.
    """
    scene.run()
    scene.trouble.met("presence", Unavailable("no answer", 2.0))
    with pytest.raises(Unavailable):
        await scene.subscribe("t:a")

    assert [] == scene.far_end.asked
    assert {"t:a"} == scene.registry.doubtful


# When the node is given up.


async def test_fenced_in_the_middle(scene: Scene) -> None:
    """
    What was under way, and what waits, goes under the next name, in the same order; nobody hears of it.
    """
    run = scene.run("n1")
    scene.far_end.go.clear()
    scene.far_end.fails = [Fenced()]
    first = [scene.subscribe("u:ada", "t:a"), scene.subscribe("t:b")]
    await scene.far_end.came.wait()
    later = scene.subscribe("u:bob")
    await asyncio.sleep(0)
    scene.far_end.go.set()
    with pytest.raises(Fenced):
        await run

    assert [False] * 3 == [one.done() for one in (*first, later)]
    assert {"u:ada", "t:a", "t:b", "u:bob"} == scene.registry.doubtful
    scene.run("n2")
    answers = await asyncio.gather(*first, later)
    assert [{"u:ada", "t:a"}, {"t:b"}, {"u:bob"}] == [set(one.attached) for one in answers]
    assert ["n1", "n2"] == [asked.node for asked in scene.far_end.asked]
    assert ["u:ada", "t:a", "t:b", "u:bob"] == list(scene.far_end.asked[1].here)


async def test_given_up_in_the_middle(scene: Scene) -> None:
    """
    A run that is cancelled, since the keeper was fenced by its renewal, leaves what it had to the next.
    """
    run = scene.run("n1")
    scene.far_end.go.clear()
    registration = scene.subscribe("t:a")
    await scene.far_end.came.wait()
    run.cancel()
    await asyncio.wait([run])
    scene.far_end.go.set()
    scene.run("n2")

    assert {"t:a"} == set((await registration).attached)
    assert set() == scene.registry.doubtful


async def test_what_is_doubtful_is_told_in_time(scene: Scene) -> None:
    """
    In calls of a hundred streams, and no longer than until the next renewal: the rest stays doubtful.
    """
    scene.registry.doubtful = {f"t:{number}" for number in range(250)}
    scene.registry.returning = set(scene.registry.doubtful)
    await scene.registry.tell_doubtful("n1", 0)
    too_late = len(scene.far_end.asked)
    await scene.registry.tell_doubtful("n1", asyncio.get_running_loop().time() + PATIENCE)

    assert 0 == too_late
    assert [100, 100, 50] == [len(asked.here) for asked in scene.far_end.asked]
    assert (set(), set()) == (scene.registry.doubtful, scene.registry.returning)


async def test_a_fence_while_doubts_are_told(scene: Scene) -> None:
    """
    It says so, and what was told until then is no longer doubtful.
    """
    scene.registry.doubtful = {f"t:{number}" for number in range(250)}
    scene.far_end.fails = [None, Fenced()]
    with pytest.raises(Fenced):
        await scene.registry.tell_doubtful("n1", asyncio.get_running_loop().time() + PATIENCE)

    assert 150 == len(scene.registry.doubtful)


async def test_who_comes_again_and_again_keeps_nobody_out(new_scene: Callable[..., Scene], far_end: FarEnd) -> None:
    """
    After one proof from before a revocation was refused, others like it are put out before the next call: it has that
    of who comes by a new one alone, and is taken.
    """
    scene = new_scene()
    scene.run()
    far_end.revoked["u:ada"] = 5.0
    scene.proofs["u:ada"] = [1.0]
    refused = await scene.subscribe("u:ada")
    scene.here["u:ada"] += 1  # he has come again
    scene.proofs["u:ada"] = [9.0, 1.0]
    taken = await scene.subscribe("u:ada")

    assert ({"u:ada"}, set()) == (refused.revoked, set(refused.attached))
    assert (set(), {"u:ada"}) == (taken.revoked, set(taken.attached))
    assert [(1, 1.0), (1, 9.0)] == [
        (count.here, count.issued) for asked in far_end.asked for count in asked.counts.values()
    ]


@pytest.mark.parametrize("fails", [True, False])
async def test_who_has_given_up_during_the_call(scene: Scene, fails: bool) -> None:
    """
    Whatever becomes of the call, those who still wait are answered, and he is not.
    """
    scene.run()
    scene.far_end.go.clear()
    scene.far_end.fails = [Unavailable("away", 1.0)] if fails else []
    gone, waits = scene.subscribe("t:a"), scene.subscribe("t:b")
    await scene.far_end.came.wait()
    gone.cancel()
    await asyncio.wait([gone])
    scene.far_end.go.set()
    await asyncio.wait([waits])

    assert gone.cancelled()
    assert fails == isinstance(waits.exception(), Unavailable)


def test_two_registrations_together() -> None:
    """
    As if all had been told at once: what the later one says of a stream counts.
    """
    answer: Any = None
    newer = Position("e", 9)
    one = Registration(
        ("u:ada", "t:a"), {"u:ada": TOP}, answer, {"u:ada": Attached(TOP, TOP, Known(), None)}, {}, set()
    )
    other = Registration(("t:b",), {"t:b": newer}, answer, {}, {"t:b": Missed(newer, newer, True)}, {"u:eve"})
    both = one.with_those_of(other)

    assert ("u:ada", "t:a", "t:b") == both.streams
    assert {"u:ada": TOP, "t:b": newer} == both.since
    assert (["u:ada"], ["t:b"], {"u:eve"}) == ([*both.attached], [*both.missed], both.revoked)
