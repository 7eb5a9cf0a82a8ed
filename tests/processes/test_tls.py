"""Redis by TLS, from every kind of process: a node, senders of both colours, a worker and its broker, the doctor."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from qrsocket import Unavailable, socket
from qrsocket.cli.app import app
from qrsocket.embedded_redis import embedded_redis
from qrsocket.sync import socket as blocking
from qrsocket.testing import client
from tests.app.certificate import make_certificate
from tests.app.conftest import serving
from tests.app.routers import router_of_named_users
from tests.clients import PATIENCE
from tests.conftest import Configure, until
from tests.running import web_node, worker
from tests.tls import TlsProxy, tls_before

LARGE = "x" * 100_000  # several records of TLS
GUARDED = "tests.processes.guarded"


@contextmanager
def redis_by_tls(
    folder: Path, host: str = "localhost", *, asks_clients: bool = False
) -> Iterator[tuple[TlsProxy, str]]:
    """A server with TLS, and what to write after its address so that it is trusted."""
    key, certificate = make_certificate(folder, host)
    with (
        embedded_redis() as server,
        tls_before(server.port, key, certificate, for_clients_of=certificate if asks_clients else None) as proxy,
    ):
        yield proxy, f"ssl_ca_certs={certificate}"


async def test_everything_by_tls(tmp_path: Path, configure: Configure) -> None:
    """
    Messages, topics, presence, jobs and the broker work by TLS as they do without, with one address for all; so they do
    again after all connections broke.
    """
    with redis_by_tls(tmp_path) as (proxy, trust):
        url = f"rediss://localhost:{proxy.port}/0?{trust}&ssl_cert_reqs=required"
        configure(redis_url=url, lease=3, renew_interval=0.1, offline_grace=0.1)
        env = {"GUARDED_BROKER": url}
        with (
            web_node(app=f"{GUARDED}:app", env=env) as node,
            worker(app=f"{GUARDED}:jobs", env=env),
        ):
            async with client(node.url, query={"user": "alice"}, timeout=PATIENCE) as alice:
                assert "hello alice" == await alice.receives()
                room = await alice.join("room:tea")
                for number in range(50):
                    await socket.to("alice").send(f"{number}{LARGE}")
                assert [f"{number}{LARGE}" for number in range(50)] == [await alice.receives() for _ in range(50)]
                await asyncio.to_thread(blocking.topic("room:tea").send, "by a thread")
                assert "by a thread" == await room.receives()
                async with httpx2.AsyncClient(timeout=PATIENCE) as http:
                    words = {"words": ["to", "be"]}
                    asked = await http.post(f"{node.url}/socket/count", params={"user": "alice"}, json=words)
                assert 2 == (await alice.job_ends(asked.json()["id"], timeout=PATIENCE)).result
                assert [{"counted": 2}, {"asked": [True, ["alice"], 1]}] == [await alice.receives() for _ in range(2)]

                before = proxy.connections
                proxy.cut()
                await socket.to("alice").send("after all broke", wait=PATIENCE)
                assert "after all broke" == await alice.receives()
                await until(lambda: proxy.connections > before)
            examined = await asyncio.to_thread(CliRunner().invoke, app, ["doctor"])

    assert 0 == examined.exit_code, examined.output


@pytest.mark.parametrize(
    ("host", "options"),
    [("localhost", ""), ("another.example", "?{trust}")],
    ids=["nobody trusts it", "of another host"],
)
async def test_a_wrong_certificate(tmp_path: Path, configure: Configure, host: str, options: str) -> None:
    """
    A certificate that is not trusted, or names another host, is refused at once and named: by senders of both colours,
    the doctor, and a node, which starts all the same.
    """
    with redis_by_tls(tmp_path, host) as (proxy, trust):
        configure(redis_url=f"rediss://localhost:{proxy.port}/0{options.format(trust=trust)}", redis_timeout=PATIENCE)
        for use in (socket.to("alice").send("hi"), asyncio.to_thread(blocking.to("alice").send, "hi")):
            with pytest.raises(Unavailable, match="the certificate of Redis is not trusted"):
                await asyncio.wait_for(use, PATIENCE / 2)
        examined = await asyncio.to_thread(CliRunner().invoke, app, ["doctor"])
        assert 1 == examined.exit_code
        assert "✗ connection: the certificate of Redis is not trusted" in examined.output
        assert "ssl_ca_certs" in examined.output
        configure(redis_timeout=2)  # a node waits so long for Redis before it starts without
        with web_node(app=f"{GUARDED}:app", ready=None) as node:
            await asyncio.to_thread(node.wait_for, "the certificate of Redis is not trusted")
            async with asyncio.timeout(PATIENCE), httpx2.AsyncClient(timeout=PATIENCE) as http:
                cause = ""
                while cause != "the certificate of Redis is not trusted":  # a busy machine is too slow for it, at times
                    ready = await http.get(f"{node.url}/socket/ready")
                    assert 503 == ready.status_code
                    cause = ready.json()["cause"]


async def test_certificates_of_clients(tmp_path: Path, configure: Configure) -> None:
    """
    Where Redis asks its clients for a certificate, the address names it and its key; without, it cannot be reached.
    """
    node = FastAPI()
    node.include_router(router_of_named_users())
    with redis_by_tls(tmp_path, asks_clients=True) as (proxy, trust):
        url = f"rediss://localhost:{proxy.port}/0?{trust}"
        own = f"ssl_certfile={tmp_path}/certificate.pem&ssl_keyfile={tmp_path}/key.pem"
        configure(redis_url=f"{url}&{own}", lease=3, renew_interval=0.1)
        async with (
            serving(node) as address,  # on asyncio's own loop; processes are on uvloop
            client(f"http://{address}", query={"user": "alice"}, timeout=PATIENCE) as alice,
        ):
            for number in range(20):
                await socket.to("alice").send(f"{number}{LARGE}")
            await asyncio.to_thread(blocking.to("alice").send, "by a thread")
            expected = [*(f"{number}{LARGE}" for number in range(20)), "by a thread"]
            assert expected == [await alice.receives() for _ in expected]
        configure(redis_url=url, redis_timeout=1)
        for use in (socket.to("alice").send("hi"), asyncio.to_thread(blocking.to("alice").send, "hi")):
            with pytest.raises(Unavailable):
                await use
