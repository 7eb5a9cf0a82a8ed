"""A round trip to Redis: described once by a pure function, sent by blocking or by awaiting."""

import asyncio
import builtins
import re
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from importlib.resources import files
from types import TracebackType
from typing import Any, Generic, TypeAlias, TypeVar

import hiredis
import redis.asyncio
from redis.exceptions import ConnectionError, NoScriptError, RedisError

from qrsocket import events
from qrsocket.events import RedisAsked
from qrsocket.failures import NO_PRIMARY
from qrsocket.internals.redis import aexchange, deadline, exchange
from qrsocket.patience import Patience
from qrsocket.patient_timeout import PatientTimeout

T = TypeVar("T")
INCLUDE = re.compile(r"^ *--include (\S+)\n", re.MULTILINE)
Argument: TypeAlias = str | bytes | int | float
UNOBSERVED = nullcontext()


@dataclass(frozen=True, slots=True)
class Script:
    """
    A Lua script that Redis keeps and runs by its digest.

    None says `no-writes`, though some only read: a replica would run it, and after a failover go on to answer with what
    was true before.

    Source: https://redis.io/docs/latest/develop/programmability/eval-intro/
    """

    source: str
    name: str = field(default="script", compare=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)

    @staticmethod
    @cache
    def load(name: str, *, base: str = "") -> "Script":
        """
        Read a script of this package, with the files that it includes.

        Args:
            name: Its path below `qrsocket`, without `.lua`.
            base: Of the keys that it is run with. It is part of the source, so that a restarted server does not know
                the script of one shard, or application, because another has just sent its own: `epoch.lua` needs that.
        """
        source = _with_includes(name, set())
        # Redis takes the flags of a script from its very first line.
        flags, source = source.split("\n", 1) if source.startswith("#!") else ("#!lua", source)
        return Script("\n".join([flags, f"-- {base}", source]), name)


def _with_includes(name: str, included: set[str]) -> str:
    """Read a file in Lua; the line `--include <name>` stands for another one, where that is named first."""
    included.add(name)
    source = files("qrsocket").joinpath(f"{name}.lua").read_text()
    return INCLUDE.sub(lambda line: "" if line[1] in included else _with_includes(line[1], included), source)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """
    One round trip, described.

    Attributes:
        command: The words to send; of a script, the number of its keys, the keys and the arguments.
        parse: Makes the result from Redis' answer, as it comes (RESP).
        script: The script to run, if it is one.
    """

    command: tuple[Argument, ...]
    parse: Callable[[Any], T]
    script: Script | None = None

    @property
    def name(self) -> str:
        return str(self.command[0]) if self.script is None else self.script.name

    @property
    def words(self) -> tuple[Argument, ...]:
        return self.command if self.script is None else ("EVALSHA", self.script.digest, *self.command)

    @property
    def words_with_source(self) -> tuple[Argument, ...]:
        """
        What to send when Redis answers that it does not have the script, or may be another server than before.

        A second key, which is the first again, tells the script so: `epoch.lua` finds another process by it.
        """
        if self.script is None:
            return self.command
        count, first, *others = self.command
        return ("EVAL", self.script.source, int(count) + 1, first, first, *others)


def script_call(script: Script, keys: list[str], args: list[Argument], parse: Callable[[Any], T]) -> Call[T]:
    """Describe the run of *script* with *keys*, of which there is at least one."""
    return Call((len(keys), *keys, *args), parse, script)


def info(section: str) -> Call[dict[str, str]]:
    """Describe the question what Redis says of itself."""

    def parse(reply: bytes) -> dict[str, str]:
        lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())  # a path may be anything
        return {name: value for name, colon, value in lines if colon}

    return Call(("INFO", section), parse)


def run(client: "redis.Redis", call: Call[T], *, timeout: float) -> T:
    """
    Make the round trip, blocking. A lost connection is tried again until *timeout* seconds are over.

    Raises:
        Unavailable: Redis did not answer in time, or takes no messages.
    """
    return run_all(client, [call], Patience(timeout))[0]


async def arun(client: "redis.asyncio.Redis", call: Call[T], *, timeout: float) -> T:
    """Make the round trip, awaiting; otherwise as `run`."""
    return (await arun_all(client, [call], Patience(timeout)))[0]


def run_all(client: "redis.Redis", calls: Iterable[Call[T]], patience: Patience) -> list[T]:
    """Make the round trips, one after the other, and all of them within *patience*; otherwise as `run`."""
    answers: list[T] = []
    before = deadline.set(None)
    try:
        for call in calls:
            words = call.words
            with _noted(call):
                while True:
                    deadline.set(time.monotonic() + patience.left())
                    try:
                        answer = _answer_blocking(client, call, words)
                        break
                    except RedisError as error:
                        pause = patience.pause_after(error)
                    time.sleep(pause)
                    # Another server may answer now, that knows the script from before: `epoch.lua` is to notice.
                    words = call.words_with_source
            answers.append(call.parse(answer))
    finally:
        deadline.reset(before)
    return answers


async def arun_all(client: "redis.asyncio.Redis", calls: Iterable[Call[T]], patience: Patience) -> list[T]:
    """Make the round trips, awaiting; otherwise as `run_all`."""
    answers: list[T] = []
    for call in calls:
        words = call.words
        with _noted(call):
            while True:
                try:
                    async with PatientTimeout(patience.left()):
                        answer = await _answer(client, call, words)
                    break
                except (RedisError, builtins.TimeoutError) as error:
                    pause = patience.pause_after(error)
                await asyncio.sleep(pause)
                words = call.words_with_source
        answers.append(call.parse(answer))
    return answers


def _noted(call: Call[Any]) -> AbstractContextManager[None]:
    """Tell those who observe of a round trip that is made in the block."""
    return _Observed(call) if events.observers else UNOBSERVED


class _Observed:
    __slots__ = ("_began_at", "_call")

    def __init__(self, call: Call[Any]) -> None:
        self._call, self._began_at = call, time.monotonic()

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        failure = None if kind is None else kind.__name__
        events.notify(RedisAsked(self._call.name, failure, time.monotonic() - self._began_at))


def _answer_blocking(client: "redis.Redis", call: Call[Any], words: tuple[Argument, ...]) -> Any:
    pool = client.connection_pool
    try:
        try:
            return exchange(pool, _packed(words))
        except NoScriptError:
            return exchange(pool, _packed(call.words_with_source))
    except NO_PRIMARY:  # the other connections of the pool lead there, too
        pool.disconnect(inuse_connections=False)
        raise


async def _answer(client: "redis.asyncio.Redis", call: Call[Any], words: tuple[Argument, ...]) -> Any:
    pool = client.connection_pool
    try:
        try:
            return await aexchange(pool, _packed(words))
        except NoScriptError:
            return await aexchange(pool, _packed(call.words_with_source))
    except NO_PRIMARY:
        await pool.disconnect(inuse_connections=False)
        raise
    except RuntimeError as error:
        # uvloop's, for a connection that was lost and that redis-py has not noticed yet.
        if "the handler is closed" in str(error):
            raise ConnectionError("connection lost") from error
        raise


def _packed(words: tuple[Argument, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub knows tuples of one only
    return packed
