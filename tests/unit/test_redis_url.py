"""The address of Redis: understood as it is written, or refused by name without a part of the password."""

from traceback import format_exception

import pytest
from pydantic import ValidationError
from redis import ConnectionPool

from qrsocket.redis_url import read
from qrsocket.settings import Settings

ESCAPE = "write what is special in a password as %40"
CANARY = "canary"


@pytest.mark.parametrize(
    ("url", "as_redis_py_says"),
    [
        ("redis://h:1/2", "redis://h:1/2"),
        ("rediss://h:1/2/", "rediss://h:1/2/"),
        ("REDIS://h", "redis://h"),
        ("valkey://:p%40ss@h:1/2?db=3", "redis://:p%40ss@h:1/2?db=3"),
        ("valkeys://h", "rediss://h"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        (" redis://h/0\n", "redis://h/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix://bob:right@/run/redis.sock?db=2", "unix://bob:right@/run/redis.sock?db=2"),
        (
            "redis://h?max_connections=9&health_check_interval=30",
            "redis://h?max_connections=9&health_check_interval=30",
        ),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", "rediss://h?ssl_cert_reqs=none"),
        ("rediss://h/1?ssl_cert_reqs=CERT_OPTIONAL", "rediss://h/1?ssl_cert_reqs=optional"),
        ("valkeys://h?ssl_cert_reqs=required", "rediss://h?ssl_cert_reqs=required"),
        ("rediss://h?ssl_ca_certs=/etc/my%20ca.pem", "rediss://h?ssl_ca_certs=/etc/my%20ca.pem"),
    ],
)
def test_what_is_understood(url: str, as_redis_py_says: str) -> None:
    """
    Other names of a scheme and of Celery's options become those of redis-py; the rest is untouched.
    """
    assert as_redis_py_says == read(url)


@pytest.mark.parametrize("password", ["p@ss", "p%ss", "p:ss", "pass%23"])
def test_a_password_that_is_read_as_it_is_written(password: str) -> None:
    """
    What redis-py reads right needs no escape.
    """
    kwargs = ConnectionPool.from_url(read(f"redis://bob:{password}@h:7/3")).connection_kwargs

    assert ("bob", password.replace("%23", "#"), "h", 7, 3) == tuple(
        kwargs[name] for name in ("username", "password", "host", "port", "db")
    )


@pytest.mark.parametrize(
    ("url", "what_to_write"),
    [
        ("redis://:57#canary@h:1/0", ESCAPE),
        ("redis://h?socket_timeout=0.3", "QRSOCKET_REDIS_TIMEOUT"),
        ("redis://h?socket_connect_timeout=1&db=0", "QRSOCKET_REDIS_TIMEOUT"),
        ("redis://:canary#1@h", ESCAPE),
        ("redis://:57/canary@h:1/0", ESCAPE),
        ("redis://:canary/1@h:1/0", ESCAPE),
        ("redis://:57?canary@h:1/0", ESCAPE),
        ("redis://:57?canary=1@h:1/0", ESCAPE),
        ("redis://:canary?@h", ESCAPE),
        ("redis://:ca[nary@h", ESCAPE),
        ("redis://:1@h:canary/0", ESCAPE),
        ("redis://h?canary", ESCAPE),
        ("redis://h/canary", r"redis://host:port/0"),
        ("redis://h/1/2", r"redis://host:port/0"),
        ("redis://h/-1", r"redis://host:port/0"),
        ("unix://canary/redis.sock", "three slashes"),
        ("unix://", "three slashes"),
        ("http://:canary@h", "must start with redis://"),
        ("redis:/:canary@h", "must start with redis://"),
        ("redis-sentinel://:canary@h", "must start with redis://"),
        ("canary", "must start with redis://"),
        ("redis://h?virtual_host=1", "virtual_host"),
        ("redis://h?db=canary", ": db$"),
        ("redis://h?ssl_cert_reqs=none", "redis:// does not take.*ssl_cert_reqs"),
        ("rediss://h?ssl_cert_reqs=canary", "ssl_cert_reqs=none, optional or required"),
        ("redis://h?decode_responses=true", "decode_responses: leave it out"),
        ("redis://h?protocol=2", "protocol: leave it out"),
        ("redis://h?timeout=3", ": timeout$"),
        ("unix:///run/redis.sock?socket_keepalive=1", "socket_keepalive"),
    ],
)
def test_what_is_refused(url: str, what_to_write: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What redis-py would read otherwise, or complain of at the first connection, is refused when settings are read.
    """
    monkeypatch.setenv("QRSOCKET_REDIS_URL", url)

    with pytest.raises(ValueError, match=what_to_write):
        read(url)
    with pytest.raises(ValidationError, match="redis_url") as refusal:
        Settings()
    assert CANARY not in "".join(format_exception(refusal.value))
