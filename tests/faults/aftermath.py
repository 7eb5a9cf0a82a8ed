"""What is left when all faults are over: who is online, what nobody owns any more, and what has grown."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

from psutil import CONN_ESTABLISHED, Process
from redis import Redis

from tests.faults.conditions import CANARY

PREFIX = "qrsocket:app:{q0}:"
ANSWER_TIMEOUT = 5.0

MOST_GROWTH_BYTES = 64 * 1024 * 1024
# 50 connections to Redis that the pool may have opened meanwhile (qrsocket/clients.py), and some.
MOST_MORE_DESCRIPTORS = 60
MOST_MORE_TASKS = 12
TASKS_OF_A_CONNECTION = 6
MOST_LINES = 5


@dataclass(frozen=True, slots=True)
class Vitals:
    """
    What a node holds, beside its connections to clients.

    Attributes:
        tasks: All asyncio tasks, those of connections included.
    """

    resident_bytes: int
    descriptors: int
    tasks: int
    connections: int


def vitals(node: Process, port: int) -> Vitals:
    """Read them. *port* is the one that it serves."""
    sockets = [one for one in node.net_connections("tcp") if one.laddr.port == port and one.status == CONN_ESTABLISHED]
    return Vitals(
        resident_bytes=node.memory_info().rss,
        descriptors=node.num_fds() - len(sockets),
        tasks=int(_get(port, "/tasks")["tasks"]),
        connections=len(sockets),
    )


def growth(name: str, before: Vitals, after: Vitals) -> list[str]:
    """Return what has grown over its limit."""
    more_bytes = after.resident_bytes - before.resident_bytes
    more_descriptors = after.descriptors - before.descriptors
    more_connections = max(0, after.connections - before.connections)
    more_tasks = after.tasks - before.tasks - TASKS_OF_A_CONNECTION * more_connections
    found = []
    if more_bytes > MOST_GROWTH_BYTES:
        found.append(f"{name} has grown by {more_bytes / 2**20:.0f} MiB, to {after.resident_bytes / 2**20:.0f}")
    if more_descriptors > MOST_MORE_DESCRIPTORS:
        found.append(f"{name} has {more_descriptors} descriptors more than at its start: {after.descriptors}")
    if more_tasks > MOST_MORE_TASKS:
        found.append(f"{name} has {more_tasks} tasks more than at its start: {after}")
    return found


def told_by_logs(logs: list[Path]) -> list[str]:
    """Return the lines that hold the secret, or say that a node has died of an error while its process runs on."""
    lines = [(log.name, line) for log in logs for line in log.read_text(errors="replace").splitlines()]
    secrets = [f"the canary is in {name}: {line:.200}" for name, line in lines if CANARY in line]
    deaths = [f"in {name}: {line:.200}" for name, line in lines if "node died" in line]
    return secrets[:MOST_LINES] + deaths[:MOST_LINES]


def online(port: int) -> list[str]:
    """Return who is online, as the node that serves *port* says."""
    return cast(list[str], _get(port, "/online"))


def members(port: int) -> dict[str, tuple[list[str], int]]:
    """Return who has joined each room, and how many connections, as the node that serves *port* says."""
    return {topic: (list(users), count) for topic, (users, count) in _get(port, "/members").items()}


def jobs(port: int) -> dict[str, list[dict[str, Any]]]:
    """Return the jobs of each user who watches some, as the node that serves *port* says."""
    return cast(dict[str, list[dict[str, Any]]], _get(port, "/jobs"))


def leftovers(redis: Redis, nodes: int) -> list[str]:
    """Return each trace of a dead incarnation, and each hook that has not run, when *nodes* are live."""
    live = set(redis.zrange(f"{PREFIX}nodes", 0, -1))
    found = [] if len(live) == nodes else [f"{len(live)} nodes have a lease: {', '.join(sorted(live))}"]
    for key in redis.scan_iter(f"{PREFIX}*", count=1000):
        found += _traces(redis, key, key.removeprefix(PREFIX), live)
    for channel in redis.pubsub_channels(f"{PREFIX}channel:*"):
        found += _unless_live(channel.rpartition(":")[2], live, f"somebody listens on {channel}")
    return found


def _traces(redis: Redis, key: str, name: str, live: set[str]) -> list[str]:
    kind, _, rest = name.partition(":")
    match kind:
        case "node":
            return _unless_live(rest.partition(":")[0], live, f"there is {name}")
        case "route" | "frames":
            nodes = redis.hkeys(key)
            return [text for node in nodes for text in _unless_live(node, live, f"{name} names {node}")]
        case "reaping":
            return [f"{node} is still being reaped" for node in redis.zrange(key, 0, -1)]
        case "grace":
            return [f"{user} is still in its grace" for user in redis.zrange(key, 0, -1)]
        case "claim" | "transitions":
            return [f"a hook is open: {name} is {_content(redis, key)}"]
        case _:
            return []


def _content(redis: Redis, key: str) -> Any:
    return redis.hgetall(key) if redis.type(key) == "hash" else redis.lrange(key, 0, -1)


def _unless_live(node: str, live: set[str], text: str) -> list[str]:
    return [] if node in live else [f"{text}, which is not live"]


def _get(port: int, path: str) -> Any:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=ANSWER_TIMEOUT) as answer:
        return json.load(answer)
