"""Follows a message from here through Redis to every web node, hop by hop, and jobs to their workers."""

import os
import time
from collections.abc import Iterator
from uuid import uuid4

import redis

from qrsocket import clients
from qrsocket.cli.address import named
from qrsocket.cli.failed import Failed, read_settings
from qrsocket.cli.findings import Finding, Severity, attempt, fault, fine, since, warning
from qrsocket.cli.probing import probe_nodes
from qrsocket.cli.queues import examine_queues
from qrsocket.fanout.publish import answer_probe, probe
from qrsocket.keys import Keys, Keyspace
from qrsocket.roundtrip import Call, info, run
from qrsocket.settings import Settings, misnamed

# Redis 7.0 has the script flags that we need; Valkey has them since its first version.
OLDEST = {"Redis": (7, 0), "Valkey": (7, 2)}


def examine() -> Iterator[Finding]:
    """Try each hop in turn, and yield what it shows. Without a connection to Redis there is nothing further to try."""
    try:
        settings = read_settings()
    except Failed as error:
        yield fault("settings", str(error), "mend it in the environment of this process")
        return
    for hint in misnamed(os.environ):
        yield warning("settings", hint, "mend it in the environment of this process")
    keys = Keyspace.of(settings).shards[0]
    yield fine("settings", f"Redis is {named(settings)}, keys begin with {settings.prefix}:{settings.application}:")
    connection = check_connection(settings)
    yield connection
    if connection.severity is Severity.FAULT:
        return
    client, timeout = clients.blocking(settings), settings.redis_timeout
    yield attempt("version", lambda: _check_version(client, timeout))
    yield attempt("memory", lambda: _check_memory(client, timeout))
    yield attempt("scripts", lambda: _check_scripts(client, keys, timeout))
    yield attempt("pub/sub", lambda: _check_pubsub(client, keys, timeout))
    yield from probe_nodes(client, settings)
    yield from examine_queues(client, settings)


def check_connection(settings: Settings) -> Finding:
    """Find out whether Redis answers."""

    def ping() -> Finding:
        began = time.monotonic()
        run(clients.blocking(settings), Call(("PING",), bool), timeout=settings.redis_timeout)
        return fine("connection", f"Redis answers in {since(began)}")

    return attempt("connection", ping)


def _check_version(client: redis.Redis, timeout: float) -> Finding:
    server = run(client, info("server"), timeout=timeout)
    name = "Valkey" if "valkey_version" in server else "Redis"
    version = server[f"{name.lower()}_version"]
    major, minor = OLDEST[name]
    if tuple(int(part) for part in version.split(".")[:2]) < (major, minor):
        return fault("version", f"{name} {version} is too old", f"install {name} {major}.{minor} or newer")
    return fine("version", f"{name} {version}")


def _check_memory(client: redis.Redis, timeout: float) -> Finding:
    policy = run(client, info("memory"), timeout=timeout).get("maxmemory_policy", "not told")
    if policy != "noeviction":
        return fault(
            "memory",
            f"maxmemory-policy is {policy}: a full Redis would forget who is online",
            "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
        )
    return fine("memory", "maxmemory-policy is noeviction")


def _check_scripts(client: redis.Redis, keys: Keys, timeout: float) -> Finding:
    probe_id = uuid4().hex
    run(client, answer_probe(keys, "doctor", probe_id), timeout=timeout)
    run(client, Call(("DEL", keys.probe(probe_id)), int), timeout=timeout)
    return fine("scripts", "they run, and may write")


def _check_pubsub(client: redis.Redis, keys: Keys, timeout: float) -> Finding:
    here = f"doctor.{uuid4().hex}"
    began = time.monotonic()
    with client.pubsub() as subscriber:
        subscriber.subscribe(keys.channel(here))
        subscriber.get_message(timeout=timeout)  # says that we are subscribed
        run(client, probe(keys, here, here), timeout=timeout)
        message = subscriber.get_message(timeout=timeout)
    if message is None:
        advice = "see whether a proxy stands between: let QRSOCKET_REDIS_URL name Redis itself"
        return fault("pub/sub", "what is published does not come back here", advice)
    return fine("pub/sub", f"a message comes back here in {since(began)}")
