"""The last hops: from Redis to each web node, and its answer."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

import redis
from redis.exceptions import RedisError

from qrsocket.cli.findings import Finding, fault, fine, since, warning
from qrsocket.errors import Unavailable
from qrsocket.failures import explain
from qrsocket.fanout.publish import probe
from qrsocket.keys import Keyspace
from qrsocket.presence.table import live_nodes
from qrsocket.roundtrip import Call, run
from qrsocket.settings import Settings

ANSWER_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Probe:
    """
    A probe on one of the channels of a node: it has one for each shard.

    Attributes:
        answer_key: Where Redis keeps the answer. Nodes answer in the first shard.
        heard: How many subscribers got it.
        sent_at: Of time.monotonic().
    """

    node: str
    answer_key: str
    heard: int
    sent_at: float


class Answer(NamedTuple):
    """
    Attributes:
        time: After which it came, in words.
        lost: What the node's server does not give it, and what to do about it; empty if all is well.
    """

    time: str
    lost: str


def probe_nodes(client: redis.Redis, settings: Settings) -> Iterator[Finding]:
    """Send a probe to every node that Redis knows, and say of each whether it got it and has answered."""
    try:
        probes = _send(client, settings)
        if not probes:
            yield _no_nodes()
            return
        answers = _collect(client, [one for one in probes if one.heard], settings.redis_timeout)
    except (RedisError, Unavailable) as error:
        yield fault("web nodes", *explain(error))
        return
    yield fine("web nodes", f"{len({one.node for one in probes})} known to Redis")
    by_node: dict[str, list[Probe]] = {}
    for one in probes:
        by_node.setdefault(one.node, []).append(one)
    for node, sent in by_node.items():
        yield _judge(node, sent, answers, settings)


def _send(client: redis.Redis, settings: Settings) -> list[Probe]:
    shards = Keyspace.of(settings).shards
    nodes = {node for keys in shards for node in run(client, live_nodes(keys), timeout=settings.redis_timeout)}
    probes: list[Probe] = []
    for node in sorted(nodes):
        for keys in shards:
            probe_id, sent_at = uuid4().hex, time.monotonic()
            heard = run(client, probe(keys, node, probe_id), timeout=settings.redis_timeout)
            probes.append(Probe(node, shards[0].probe(probe_id), heard, sent_at))
    return probes


def _collect(client: redis.Redis, probes: list[Probe], timeout: float) -> dict[str, Answer]:
    """Wait for the answers, and return them by their keys."""
    waiting = {one.answer_key: one for one in probes}
    answers: dict[str, Answer] = {}
    deadline = time.monotonic() + ANSWER_TIMEOUT
    while waiting and (left := deadline - time.monotonic()) > 0:
        # The client gives up reading after *timeout*.
        patience = max(min(left, timeout / 2), 0.01)
        reply = run(client, Call(("BLPOP", *waiting, patience), lambda reply: reply), timeout=timeout)
        if reply:
            key = reply[0].decode()
            answers[key] = Answer(since(waiting.pop(key).sent_at), reply[1].decode())
    return answers


def _judge(node: str, probes: list[Probe], answers: dict[str, Answer], settings: Settings) -> Finding:
    hop = f"web node {node}"
    if not all(one.heard for one in probes):
        return fault(
            hop,
            "it does not listen on its channel: its process has died and its lease has not ended, or it has lost its "
            "connection to Redis",
            f"if it died, another node removes it within {settings.lease:g} s (if none runs, start one); if not, see "
            "its log",
        )
    heard = [answers[one.answer_key] for one in probes if one.answer_key in answers]
    if len(heard) < len(probes):
        return fault(
            hop,
            f"Redis sends to it, and it did not answer within {ANSWER_TIMEOUT:g} s: its event loop is blocked, its "
            "process is stopped, or what Redis sends is lost on the way",
            "if `qrsocket status` shows a lag of seconds and a lease that is renewed, look at what is between it and "
            "Redis. Otherwise look for blocking calls in its `async def` code (time.sleep, requests, a blocking "
            "database client): `py-spy dump --pid <its pid>` shows where it stands",
        )
    lost, _, remedy = heard[0].lost.partition(". ")
    return warning(hop, lost, remedy) if lost else fine(hop, f"it answers in {heard[0].time}")


def _no_nodes() -> Finding:
    return warning(
        "web nodes",
        "Redis knows of none",
        "start one, with `qrsocket serve MODULE:APP` or `qrsocket dev MODULE:APP`. If one runs, its "
        "QRSOCKET_REDIS_URL, QRSOCKET_PREFIX, QRSOCKET_APPLICATION or QRSOCKET_SHARDS differ from those here",
    )
