"""Sentry in web and worker: what users see stays as it is, and each error reaches Sentry once."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from tests.clients import Open
from tests.collector import Collector, collecting
from tests.tools.installed import need
from tests.tools.running import web, worker
from tests.tools.shop import SECRET
from tests.tools.tour import is_ours, use_sockets, watch_jobs
from tests.watching import watch

need("sentry-sdk")

SHOP = "tests.tools.with_sentry"


@pytest.fixture
def sentry() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def items(sentry: Collector, kind: str) -> list[dict[str, Any]]:
    """
    Return what was sent as *kind*: an event is an error, and a transaction a request, a connection or a task.

    Source: https://develop.sentry.dev/sdk/data-model/envelopes/ (lines, in pairs after the first)
    """
    found = []
    for envelope in sentry.bodies("/envelope/"):
        _, *lines = envelope.rstrip(b"\n").split(b"\n")
        pairs = zip(lines[::2], lines[1::2], strict=True)
        found += [json.loads(body) for header, body in pairs if json.loads(header)["type"] == kind]
    return found


def frames(error: dict[str, Any]) -> list[str]:
    """Return the modules whose variables were sent with *error*."""
    return [frame["module"] for frame in error["exception"]["values"][-1]["stacktrace"]["frames"]]


async def test_sentry(env: dict[str, str], redis: Redis, open_client: Open, sentry: Collector) -> None:
    """
    Jobs and sockets work as without Sentry. The error of a task, and that of a socket's handler, reach it once; of the
    handler's, nothing of ours is sent that holds what the client has sent. A job belongs to the trace of its request.
    """
    env["SENTRY_DSN"] = sentry.url.replace("//", "//key@") + "/1"
    with web(f"{SHOP}:app", env) as node, worker(f"{SHOP}:jobs", env):
        alice = await watch(node, open_client)
        await watch_jobs(alice)
        await use_sockets(node, redis)

        assert is_ours(alice)

    errors = {error["transaction"]: error for error in items(sentry, "event")}
    transactions = items(sentry, "transaction")
    traces = {each["transaction"]: each["contexts"]["trace"]["trace_id"] for each in transactions}
    assert ["/socket", "tests.tools.shop.fail"] == sorted(error["transaction"] for error in items(sentry, "event"))
    assert ["tests.tools.shop"] == frames(errors["/socket"])
    assert SECRET not in json.dumps(transactions)
    for path, task in (("/count", "count"), ("/count-later", "count_later"), ("/queue-another", "say")):
        assert traces[f"/socket{path}"] == traces[f"tests.tools.shop.{task}"]
