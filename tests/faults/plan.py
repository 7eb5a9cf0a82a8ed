"""When which fault happens, made of a seed. Knows nothing of how a fault is done."""

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tests.faults.conditions import GRACE, LEASE, TICK


@dataclass(frozen=True, slots=True)
class Kind:
    """
    Attributes:
        lane: Of two faults on one lane, the second begins after the first has ended; "node" is one for each of TARGETS.
        shortest, longest: Seconds that it lasts, chosen at random.
        recovery: Seconds to come back by itself after that, more or less.
    """

    lane: str
    shortest: float
    longest: float
    recovery: float = 0.0


KINDS = {
    "kill-clients": Kind("redis", 0, 0),
    "pause-redis": Kind("redis", 0.3, 2.5),
    "restart-redis": Kind("redis", 0, 0, recovery=0.3),
    "stop-redis": Kind("redis", LEASE + 0.3, LEASE + 1, recovery=1),
    "down-redis": Kind("redis", LEASE + 0.3, LEASE + 1, recovery=1.2),
    "rollback-redis": Kind("redis", 0, 0.5, recovery=0.4),
    "wipe-redis": Kind("redis", 0, 0.5, recovery=0.3),
    "full-redis": Kind("redis", 0.5, 2),
    "cut-relay": Kind("redis", 1, 2.5),
    "kill-node": Kind("node", 0.1, 1.5, recovery=3),
    "stop-node": Kind("node", 0.4, LEASE + GRACE + 1),
    "cut-node": Kind("node", 0.4, LEASE + GRACE + 1),
    "kill-worker": Kind("other", 0, 0.5, recovery=3),
    "deaf-client": Kind("other", 1, 4, recovery=0.5),
}
DATA_LOSS = frozenset({"rollback-redis", "wipe-redis"})
NODE_LOSS = frozenset({"kill-node"})
NODE_AWAY = frozenset({"stop-node", "cut-node"})
OUTAGES = frozenset({"pause-redis", "restart-redis", "stop-redis", "down-redis"})

# Seconds from one fault of a lane to the next, chosen at random.
GAPS = {"redis": (0.7, 2.0), "node": (0.3, 1.0), "other": (2, 4)}

# A double fault that hooks are not promised to survive, so it does not happen here: Redis loses data, and a node that
# knows better is not there to say so. A Redis that comes back with less waits half a lease for the nodes, and it takes
# them some of that to be back. What a killed node knew, the others learn from Redis, but not before it is reaped. Time
# in which there is no Redis does not count for either.
SETTLING = LEASE / 2 + 0.5
APART = LEASE + TICK + GRACE + 0.5
# A kill waits so long for a hook to kill.
KILLED_WITHIN = 1.5

TARGETS = (("n1", "n2"), ("n3",))
LEAST, LEAST_RATE = 2, 0.62
TRIES = 100


@dataclass(frozen=True, slots=True)
class Planned:
    """
    Attributes:
        at: Seconds after the beginning, at the earliest.
        target: Process name for a node fault, otherwise empty.
        variant: From 0 to 1, where a fault can be done in several ways.
    """

    at: float
    kind: str
    target: str
    seconds: float
    variant: float

    @property
    def end(self) -> float:
        return self.at + self.seconds + KINDS[self.kind].recovery


def plan(seed: str, seconds: float, kinds: Collection[str] = KINDS) -> list[list[Planned]]:
    """Return the faults of each lane, in order. In 65 s they are forty or more, with each of *kinds* twice or more."""
    chance = random.Random(f"{seed} plan")
    for _ in range(TRIES):
        lanes = _lanes(chance, seconds, kinds)
        done = Counter(fault.kind for lane in lanes for fault in lane)
        if all(done[kind] >= LEAST for kind in kinds) and done.total() >= LEAST_RATE * seconds:
            break
    return lanes


def _lanes(chance: random.Random, seconds: float, kinds: Collection[str]) -> list[list[Planned]]:
    of_lane = {lane: [kind for kind in KINDS if kind in kinds and KINDS[kind].lane == lane] for lane in GAPS}
    of_redis = _lane(chance, "redis", of_lane["redis"], seconds)
    # Two at once, of different nodes: data losses do not leave them much time.
    of_nodes = [_lane(chance, "node", of_lane["node"], seconds, targets, of_redis) for targets in TARGETS]
    return [of_redis, *of_nodes, _lane(chance, "other", of_lane["other"], seconds)]


def _lane(
    chance: random.Random,
    lane: str,
    kinds: list[str],
    seconds: float,
    targets: Sequence[str] = ("",),
    of_redis: Sequence[Planned] = (),
) -> list[Planned]:
    """Return faults that each come as often as the others, as far as those *of_redis* leave room for them."""
    chosen: list[Planned] = []
    at = 0.0
    while kinds:
        at += chance.uniform(*GAPS[lane])
        used = Counter(fault.kind for fault in chosen)
        in_turn = sorted(chance.sample(kinds, len(kinds)), key=lambda kind: used[kind])
        possible = [_planned(chance, at, kind, chance.choice(targets)) for kind in in_turn]
        faults = [fault for fault in possible if not _is_double(fault, of_redis)]
        if not faults:
            at -= GAPS[lane][0]  # a little later, then
            continue
        at = faults[0].end
        if at > seconds:
            break
        chosen.append(faults[0])
    return chosen


def _planned(chance: random.Random, at: float, kind: str, target: str) -> Planned:
    seconds = chance.uniform(KINDS[kind].shortest, KINDS[kind].longest)
    return Planned(at, kind, target, seconds, chance.random())


def _is_double(fault: Planned, of_redis: Sequence[Planned]) -> bool:
    """Whether Redis loses data so shortly before or after *fault* that it is a double fault."""
    is_killed = fault.kind in NODE_LOSS
    margin = APART if is_killed else SETTLING
    clear = _with_redis(fault.at + KILLED_WITHIN if is_killed else fault.end, margin, of_redis)
    losses = [loss for loss in of_redis if loss.kind in DATA_LOSS]
    return any(fault.at < _with_redis(loss.end, margin, of_redis) and loss.at < clear for loss in losses)


def _with_redis(at: float, seconds: float, of_redis: Sequence[Planned]) -> float:
    """Return when there was a Redis for *seconds* on end, from *at* on."""
    end = at + seconds
    for fault in of_redis:
        if fault.kind in OUTAGES and fault.at < end and at < fault.end:
            end = fault.end + seconds
    return end
