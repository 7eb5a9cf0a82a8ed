"""What a failure of Redis means: in words, what to do about it, and whether another attempt may mend it."""

import builtins
import socket
import ssl
from typing import NamedTuple

from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    ConnectionError,
    InvalidResponse,
    MasterDownError,
    MaxConnectionsError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from qrsocket.errors import Unavailable

OUT_OF_SERVICE: dict[type[Exception], str] = {
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
    TryAgainError: "TRYAGAIN",
}
# UNBLOCKED is said to those who wait in a server when it becomes a replica.
REFUSALS = (*OUT_OF_SERVICE.values(), "BUSY", "MISCONF", "NOREPLICAS", "UNBLOCKED")
# InvalidResponse: another program has the port, and does not speak Redis' protocol.
UNREACHABLE = (ConnectionError, TimeoutError, builtins.TimeoutError, InvalidResponse)
# A replica. After a failover the address leads to another server, and connections that are open still to this one.
NO_PRIMARY = (ReadOnlyError, MasterDownError)


class Meaning(NamedTuple):
    """
    A failure in words. They hold no address, which may hold a password, and nothing that was sent.

    Attributes:
        cause: What has happened.
        advice: What to do next.
    """

    cause: str
    advice: str


NO_DATABASE = Meaning(
    "Redis has no such database",
    "name another in QRSOCKET_REDIS_URL, redis://host:port/0, or raise `databases` in the configuration of Redis",
)
TOO_OLD = Meaning("this server cannot run our scripts", "install Redis 7.0 or Valkey 7.2, or newer")
# By a part of what Redis says.
REFUSED_FOR_GOOD = {
    "DB index is out of range": NO_DATABASE,
    "SELECT is not allowed": NO_DATABASE,
    "unexpected symbol near '#'": TOO_OLD,
    "unknown command 'EVAL": TOO_OLD,
    "unknown command `EVAL": TOO_OLD,
    "DENIED ": Meaning(
        "Redis is in protected mode: it serves its own machine only",
        "set a password in its configuration (requirepass), and write that into QRSOCKET_REDIS_URL",
    ),
}
# How Redis, and Valkey, say that the user may not do what a script does.
IN_SCRIPT = ("user executing the script can't", "ACL failure in script")


def refusal(error: BaseException | None) -> Meaning | None:
    """Say why Redis refuses until somebody changes a setting, here or there; None if another attempt may succeed."""
    match error:
        case AuthenticationError():
            return Meaning(
                "Redis refuses the user name or the password",
                "write them into QRSOCKET_REDIS_URL, redis://user:password@host:port/0, with special characters "
                "percent-encoded",
            )
        case ResponseError() if isinstance(error, NoPermissionError) or any(words in str(error) for words in IN_SCRIPT):
            return Meaning(
                "Redis does not permit it",
                f"give the user of QRSOCKET_REDIS_URL what it lacks ({str(error)[:200]}), as keys and channels that "
                "begin with QRSOCKET_PREFIX, and scripts: "
                "ACL SETUSER <user> ~qrsocket:* &qrsocket:* +@all -@dangerous +info",
            )
        case MovedError():
            return Meaning("this server is a part of a Redis Cluster", "name one in QRSOCKET_REDIS_URL that is not")
        case ResponseError():
            return next((meaning for words, meaning in REFUSED_FOR_GOOD.items() if words in str(error)), None)
        case ConnectionError() if isinstance(error.__cause__ or error.__context__, ssl.SSLCertVerificationError):
            return Meaning(
                "the certificate of Redis is not trusted",
                "name its authority in QRSOCKET_REDIS_URL, rediss://…?ssl_ca_certs=<path>, and the host as the "
                "certificate does",
            )
    return None


def cause_of(error: Exception) -> str | None:
    """
    Say why Redis takes no messages; None if it would.

    By the kind of the failure: its text may hold the address, and that a password. Redis that is there but full, busy,
    failing over or unable to save is to a caller as if it were not.
    """
    if meaning := refusal(error):
        return meaning.cause
    if isinstance(error, TimeoutError | builtins.TimeoutError):
        return "no answer"
    if isinstance(error, ConnectionError | InvalidResponse):
        return type(error).__name__
    # redis-py takes the first word off where it has a class for the error.
    word = OUT_OF_SERVICE.get(type(error)) or str(error).split(" ", 1)[0]
    return word if word in REFUSALS else None


def has_answered(error: BaseException | None) -> bool | None:
    """Tell, by what a round trip raised, whether Redis answered it; None: that does not tell."""
    if error is None:
        return True
    reason = error.__cause__ if isinstance(error, Unavailable) else error
    if isinstance(reason, NO_PRIMARY):
        return False
    if isinstance(reason, ResponseError):
        return True
    # Neither what is refused for good nor too many threads here are Redis' silence.
    is_silence = isinstance(reason, UNREACHABLE) and not isinstance(reason, MaxConnectionsError)
    return False if is_silence and refusal(reason) is None else None


def explain(error: Exception) -> Meaning:
    """Say what *error* means to an operator."""
    if isinstance(error, Unavailable) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if meaning := refusal(error):
        return meaning
    match error:
        case OutOfMemoryError():
            return Meaning("Redis is full", "raise its maxmemory, or see what fills it: redis-cli --bigkeys")
        case ReadOnlyError():
            return Meaning("this server is a read-only replica", "let QRSOCKET_REDIS_URL name the primary")
        case MasterDownError():
            return Meaning("this server is a replica without its primary", "let QRSOCKET_REDIS_URL name the primary")
        case InvalidResponse():
            return Meaning(
                "what answers there is not Redis",
                "check the host and port in QRSOCKET_REDIS_URL, and whether the port speaks TLS (rediss://)",
            )
        case ConnectionError() | TimeoutError() | OSError() | Unavailable():
            return _explain_connection(error)
        case _:
            said = str(error).split(", with args", 1)[0]  # which may be anything, a message too
            return Meaning("Redis answers with an error", f"look into the log of Redis; it says {said[:200]!r}")


def _explain_connection(error: Exception) -> Meaning:
    # redis-py raises its own errors out of those of the operating system.
    match error if isinstance(error, OSError) else error.__cause__ or error.__context__:
        case socket.gaierror():
            return Meaning("the name of the host is not known", "check the host in QRSOCKET_REDIS_URL")
        case ConnectionRefusedError():
            return Meaning(
                "nothing listens there",
                "start Redis (docker run -p 6379:6379 valkey/valkey), or unset QRSOCKET_REDIS_URL and let "
                "`qrsocket dev` run one",
            )
        case FileNotFoundError():
            return Meaning("there is no such file", "check the path of the socket or certificate in QRSOCKET_REDIS_URL")
        case ssl.SSLError():
            return Meaning(
                "TLS fails", "check the certificate, and whether the port speaks TLS (rediss://) or not (redis://)"
            )
        case _ if isinstance(error, TimeoutError | builtins.TimeoutError):
            return Meaning(
                "it does not answer in time",
                "see whether Redis is frozen or busy (redis-cli SLOWLOG GET), whether a firewall is in between, and "
                "whether the port speaks TLS (rediss://) or not (redis://)",
            )
        case _:
            return Meaning(
                "the connection is lost",
                "look into the log of Redis, and see whether the port speaks TLS (rediss://) or not (redis://)",
            )
