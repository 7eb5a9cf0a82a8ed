"""What a failure of Redis means, in words, and what to do about it. Quotes no address: it may hold a password."""

import socket
import ssl

from redis import exceptions

from qrsocket.errors import Unavailable


def explain(error: Exception) -> tuple[str, str]:
    """Return what *error* says has happened, and what to do next."""
    if isinstance(error, Unavailable) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    match error:
        case exceptions.AuthenticationError():
            return (
                "Redis refuses the user name or the password",
                "write them into QRSOCKET_REDIS_URL, redis://user:password@host:port/0, with special characters "
                "percent-encoded",
            )
        case exceptions.NoPermissionError():
            return (
                f"Redis does not permit it: {error}",
                "give the user of QRSOCKET_REDIS_URL the keys and channels that begin with QRSOCKET_PREFIX, and "
                "scripts: ACL SETUSER <user> ~qrsocket:* &qrsocket:* +@all -@dangerous +info",
            )
        case exceptions.OutOfMemoryError():
            return "Redis is full", "raise its maxmemory, or see what fills it: redis-cli --bigkeys"
        case exceptions.ReadOnlyError():
            return "this server is a read-only replica", "let QRSOCKET_REDIS_URL name the primary"
        case exceptions.ConnectionError() | exceptions.TimeoutError() | OSError() | Unavailable():
            return _explain_connection(error)
        case _:
            return f"Redis answers {str(error)[:200]!r}", "look into the log of Redis"


def _explain_connection(error: Exception) -> tuple[str, str]:
    # redis-py raises its own errors out of those of the operating system.
    match error if isinstance(error, OSError) else error.__cause__ or error.__context__:
        case socket.gaierror():
            return "the name of the host is not known", "check the host in QRSOCKET_REDIS_URL"
        case ConnectionRefusedError():
            return (
                "nothing listens there",
                "start Redis (docker run -p 6379:6379 valkey/valkey), or unset QRSOCKET_REDIS_URL and let "
                "`qrsocket dev` run one",
            )
        case FileNotFoundError():
            return "there is no such socket file", "check the path in QRSOCKET_REDIS_URL"
        case ssl.SSLError():
            return "TLS fails", "check the certificate, and whether the port speaks TLS (rediss://) or not (redis://)"
        case _ if isinstance(error, exceptions.TimeoutError | TimeoutError):
            return (
                "it does not answer in time",
                "see whether Redis is frozen or busy (redis-cli SLOWLOG GET), whether a firewall is in between, and "
                "whether the port speaks TLS (rediss://) or not (redis://)",
            )
        case _:
            return (
                "the connection is lost",
                "look into the log of Redis, and see whether the port speaks TLS (rediss://)",
            )
