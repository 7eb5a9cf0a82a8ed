"""A round trip to Redis: described once by a pure function, sent by blocking or by awaiting."""

import asyncio
import builtins
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, Generic, TypeAlias, TypeVar

import redis.asyncio
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
    TryAgainError,
)

from qrsocket.errors import Unavailable

T = TypeVar("T")
Word: TypeAlias = str | bytes | int | float

OUT_OF_SERVICE: dict[type[RedisError], str] = {
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
    TryAgainError: "TRYAGAIN",
    NoPermissionError: "NOPERM",
}
REFUSALS = (*OUT_OF_SERVICE.values(), "BUSY", "MISCONF", "NOREPLICAS")
FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.25


@dataclass(frozen=True, slots=True)
class Script:
    """
    A Lua script that Redis keeps and runs by its digest.

    Source: https://redis.io/docs/latest/develop/programmability/eval-intro/
    """

    source: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)

    @staticmethod
    @cache
    def load(package: str, name: str, *prelude: str) -> "Script":
        """Read `<name>.lua` of *package*, with `keys.lua` and then its neighbours *prelude* put before it."""
        folder = files(package)
        own = folder.joinpath(f"{name}.lua").read_text()
        shared = [files("qrsocket").joinpath("keys.lua"), *(folder.joinpath(f"{part}.lua") for part in prelude)]
        # Redis takes the flags of a script from its very first line.
        flags, own = own.split("\n", 1) if own.startswith("#!") else ("#!lua", own)
        return Script("\n".join([flags, *(part.read_text() for part in shared), own]))


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """
    One round trip, described.

    Attributes:
        command: The words to send; of a script, the number of its keys, the keys and the arguments.
        parse: Makes the result from Redis' answer.
        script: The script to run, if it is one.
    """

    command: tuple[Word, ...]
    parse: Callable[[Any], T]
    script: Script | None = None

    @property
    def words(self) -> tuple[Word, ...]:
        return self.command if self.script is None else ("EVALSHA", self.script.digest, *self.command)

    @property
    def words_with_source(self) -> tuple[Word, ...]:
        """What to send when Redis answers that it does not have the script."""
        return self.command if self.script is None else ("EVAL", self.script.source, *self.command)


def script_call(script: Script, keys: list[str], args: list[Word], parse: Callable[[Any], T]) -> Call[T]:
    return Call((len(keys), *keys, *args), parse, script)


def run(client: "redis.Redis", call: Call[T], *, timeout: float) -> T:
    """
    Make the round trip, blocking. A lost connection is tried again until *timeout* seconds are over.

    Raises:
        Unavailable: Redis did not answer in time.
    """
    for pause in _attempts(timeout):
        try:
            try:
                return call.parse(client.execute_command(*call.words))
            except NoScriptError:
                return call.parse(client.execute_command(*call.words_with_source))
        except (ConnectionError, TimeoutError) as error:
            if pause is None or isinstance(error, TimeoutError | AuthenticationError):
                raise Unavailable(_cause(error), timeout) from error
            time.sleep(pause)
        except RedisError as error:
            _raise_if_out_of_service(error, timeout)
            raise
    raise AssertionError("the last attempt returns or raises")


async def arun(client: "redis.asyncio.Redis", call: Call[T], *, timeout: float) -> T:
    """Make the round trip, awaiting; otherwise as `run`."""
    try:
        async with asyncio.timeout(timeout):
            for pause in _attempts(timeout):
                try:
                    try:
                        return call.parse(await client.execute_command(*call.words))
                    except NoScriptError:
                        return call.parse(await client.execute_command(*call.words_with_source))
                except (ConnectionError, TimeoutError) as error:
                    if pause is None or isinstance(error, TimeoutError | AuthenticationError):
                        raise Unavailable(_cause(error), timeout) from error
                    await asyncio.sleep(pause)
                except RedisError as error:
                    _raise_if_out_of_service(error, timeout)
                    raise
    except builtins.TimeoutError as error:
        raise Unavailable("no answer", timeout) from error
    raise AssertionError("the last attempt returns or raises")


def _attempts(timeout: float) -> Iterator[float | None]:
    """
    Yield the pause to make after each attempt if it fails; None for the last.

    Source: "full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    deadline = time.monotonic() + timeout
    longest = FIRST_PAUSE
    while True:
        pause = random.uniform(0, longest)  # noqa: S311 - spreads the load, keeps no secret
        if time.monotonic() + pause >= deadline:
            break
        yield pause
        longest = min(2 * longest, LONGEST_PAUSE)
    yield None


def _cause(error: Exception) -> str:
    """Say what failed by its kind: the text may hold the address, and that a password."""
    return "no answer" if isinstance(error, TimeoutError) else type(error).__name__


def _raise_if_out_of_service(error: RedisError, timeout: float) -> None:
    """Redis is there but takes no messages: full, busy, failing over, unable to save. To a caller that is the same."""
    # redis-py takes the first word off where it has a class for the error.
    word = OUT_OF_SERVICE.get(type(error)) or str(error).split(" ", 1)[0]
    if word in REFUSALS:
        raise Unavailable(word, timeout) from error
