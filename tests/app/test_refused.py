"""A Redis that refuses this process until somebody changes a setting: said once, with the cause, wherever one looks."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import NamedTuple

import httpx2 as httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis import Redis

from qrsocket import Unavailable, socket, sync
from qrsocket.cli.doctor import check_connection
from qrsocket.cli.findings import Severity
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from qrsocket.settings import get_settings
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.clients import PATIENCE
from tests.conftest import MS, Configure, until

SECRET = "s3cr3t-pass"
ALL = "~* &* +@all"
TLS_OR_NOT = "whether the port speaks TLS (rediss://) or not (redis://)"


class Refusal(NamedTuple):
    """
    Attributes:
        user: The part of the address before the host.
        path: The part after it.
        spoil, mend: Commands that make Redis refuse, and serve again.
    """

    user: str
    path: str
    spoil: str
    mend: str
    cause: str


def of_bob(rules: str, cause: str) -> Refusal:
    user = "ACL SETUSER bob reset on >" + SECRET
    return Refusal(f"bob:{SECRET}@", "/0", f"{user} {rules}", f"{user} {ALL}", cause)


DENIED = "Redis does not permit it"
WRONG = "Redis refuses the user name or the password"
REFUSALS = {
    "a wrong password": Refusal(
        f":{SECRET}@", "/0", "CONFIG SET requirepass right", f"CONFIG SET requirepass {SECRET}", WRONG
    ),
    "no password": Refusal("", "/0", "ACL SETUSER default resetpass", "ACL SETUSER default nopass", WRONG),
    "an unknown user": Refusal(f"bob:{SECRET}@", "/0", "PING", f"ACL SETUSER bob on >{SECRET} {ALL}", WRONG),
    "no scripts": of_bob(f"{ALL} -eval -evalsha", DENIED),
    "no keys": of_bob("~other:* &* +@all", DENIED),
    "no channels": of_bob("~* resetchannels +@all", DENIED),
    "no subscription": of_bob(f"{ALL} -subscribe", DENIED),
    "no such command in scripts": of_bob(f"{ALL} -hmget -hget", DENIED),
    "no such database": Refusal("", "/99", "PING", "", "Redis has no such database"),
}


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with embedded_redis() as server:
        yield server


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[Redis]:
    """A client that stays the master of its server, whatever is changed."""
    with Redis(port=server.port) as client:
        client.ping()
        yield client


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_said_once(
    serve: Serve,
    server: EmbeddedRedis,
    client: Redis,
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
    refusal: Refusal,
) -> None:
    """
    However often a node tries, its log has one line for the cause, with what to do, and one when it is over; `/ready`
    has the cause; neither has the password.
    """
    caplog.set_level(logging.INFO)
    configure(redis_url=f"redis://{refusal.user}127.0.0.1:{server.port}{refusal.path}", redis_timeout=500 * MS)
    client.execute_command(*refusal.spoil.split())

    address = await serve(router_of_named_users())
    await until(lambda: attempts(client) > 5)
    ready = await until_not_ready(address, refusal.cause)

    (line,) = lines(caplog, refusal.cause)
    assert len(caplog.records) < 20
    if refusal.mend:
        client.execute_command(*refusal.mend.split())
        await until_ready(address)
        await until(lambda: lines(caplog, "") == ["Redis available again"])
        assert [line] == lines(caplog, refusal.cause)
    assert SECRET not in caplog.text + ready.text


def attempts(client: Redis) -> int:
    """How often Redis has refused something."""
    return sum(int(error["count"]) for error in client.info("errorstats").values())


def lines(caplog: pytest.LogCaptureFixture, cause: str) -> list[str]:
    """Return what is logged of *cause*, or of its end. A slow machine may have others: no answer in time."""
    begin = f"Redis unavailable, sockets stay open: {cause} → " if cause else "Redis available"
    return [message for message in caplog.messages if message.startswith(begin)]


async def ask_ready(address: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as http:
        return await http.get("/socket/ready")


async def until_ready(address: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await ask_ready(address)).status_code != 200:
            await asyncio.sleep(5 * MS)


async def until_not_ready(address: str, *causes: str) -> httpx.Response:
    async with asyncio.timeout(PATIENCE):
        while (ready := await ask_ready(address)).status_code != 503 or ready.json()["cause"] not in causes:
            await asyncio.sleep(5 * MS)
        return ready


async def test_a_server_that_is_too_old(
    serve: Serve, server: EmbeddedRedis, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A server older than 7.0 cannot read the first line of a script, and says so of each: the log has one line.
    """
    async with between(server.port, to_redis=lambda words: words.replace(b"#!lua", b"##lua")) as port:
        configure(redis_url=f"redis://127.0.0.1:{port}/0", redis_timeout=500 * MS)
        with pytest.raises(Unavailable, match="this server cannot run our scripts"):
            await socket.to("alice").send("hi")
        address = await serve(router_of_named_users())
        await until_not_ready(address, "this server cannot run our scripts")

        (line,) = lines(caplog, "this server cannot run our scripts")
        assert "Redis 7.0 or Valkey 7.2" in line


async def test_tls_that_is_not_trusted(
    serve: Serve, server: EmbeddedRedis, configure: Configure, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """
    A certificate that nobody has signed is refused at once and named, and taken where the address says so.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    async with between(server.port, tls=context) as port:
        configure(redis_url=f"rediss://127.0.0.1:{port}/0", redis_timeout=PATIENCE)
        for use in (socket.to("alice").send("hi"), asyncio.to_thread(sync.socket.to("alice").send, "hi")):
            with pytest.raises(Unavailable, match="the certificate of Redis is not trusted"):
                await asyncio.wait_for(use, PATIENCE / 2)
        for options in ("ssl_cert_reqs=CERT_NONE", f"ssl_ca_certs={tmp_path}/certificate.pem"):
            configure(redis_url=f"rediss://127.0.0.1:{port}/0?{options}")
            assert 0 == (await socket.to("alice").send("hi")).connections


async def test_tls_where_the_address_has_none(
    serve: Serve, configure: Configure, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """
    A server that speaks TLS hangs up on a client that does not, which is told that it may be that.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    with speaking_tls(context) as port:
        configure(redis_url=f"redis://127.0.0.1:{port}/0", redis_timeout=200 * MS)
        address = await serve(router_of_named_users())
        ready = await until_not_ready(address, "the connection is lost", "it does not answer in time")

        (line,) = lines(caplog, ready.json()["cause"])
        assert TLS_OR_NOT in line


def test_tls_where_the_server_has_none(server: EmbeddedRedis, configure: Configure) -> None:
    """
    A server that speaks no TLS waits for more, and the client is told that it may be that.
    """
    configure(redis_url=f"rediss://127.0.0.1:{server.port}/0", redis_timeout=200 * MS)
    finding = check_connection(get_settings())

    assert Severity.FAULT is finding.severity
    assert TLS_OR_NOT in finding.advice


@contextmanager
def speaking_tls(context: ssl.SSLContext) -> Iterator[int]:
    """A server that wants TLS, and hangs up on whoever speaks none; yields its port."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(PATIENCE)
            with suppress(OSError):
                context.wrap_socket(self.request, server_side=True).close()

    # Not asyncio's: that one leaves a connection open which is lost in the middle of its handshake.
    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@asynccontextmanager
async def between(
    redis_port: int, *, to_redis: Callable[[bytes], bytes] = lambda words: words, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A proxy, that speaks *tls* or changes what is said *to_redis*, until the block ends; yields its port."""
    clients: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer)
        from_redis, redis = await asyncio.open_connection("127.0.0.1", redis_port)
        there = pass_on(reader, redis, to_redis)
        await asyncio.gather(there, pass_on(from_redis, writer, lambda words: words))

    async def pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]
    ) -> None:
        with suppress(OSError):
            while words := await reader.read(65_536):
                writer.write(change(words))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as proxy:
        yield proxy.sockets[0].getsockname()[1]
        for client in clients:  # the server waits for their end, from Python 3.12 on
            client.transport.abort()


def certificate(folder: Path) -> Path:
    """Make a certificate of 127.0.0.1 that is signed by itself, with its key; returns its file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *form) + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path
