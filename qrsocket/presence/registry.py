"""
What Redis is told of this node's subscriptions: how many there are of each stream. Those who want to tell it something
at one time share a call.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from qrsocket.errors import Unavailable
from qrsocket.keys import Keys, Keyspace
from qrsocket.patient_timeout import PatientTimeout
from qrsocket.position import Missed, Position
from qrsocket.presence.answers import Attached, Count
from qrsocket.presence.calls import call_redis
from qrsocket.presence.mailbox import Mailbox
from qrsocket.presence.table import attach
from qrsocket.settings import Settings
from qrsocket.streams import Stream, user_of
from qrsocket.trouble import Trouble

# One call with 100 streams takes Redis about 5 ms, in which nobody else is served.
STREAMS_PER_CALL = 100
# Seconds. A revocation may be over soon after it was heard of.
MOMENT = 0.2


class Fenced(Exception):
    """Redis has given this node up: it must come back under a new name."""


@dataclass(slots=True, eq=False)
class Registration:
    """
    What somebody wants to be told to Redis, and the answer.

    Attributes:
        since: Where a client that comes back is, by stream.
        attached: The streams as they are now. One that was refused is missing.
        missed: What came since.
        revoked: The streams that were refused since a proof of their users was from before a revocation. It need not
            have been the proof of who asks.
    """

    streams: tuple[Stream, ...]
    since: Mapping[Stream, Position]
    answer: asyncio.Future[None]
    attached: dict[Stream, Attached] = field(default_factory=dict)
    missed: dict[Stream, Missed] = field(default_factory=dict)
    revoked: set[Stream] = field(default_factory=set)

    def with_those_of(self, other: "Registration") -> "Registration":
        """Return both together, as if they had been told at once."""
        return Registration(
            (*self.streams, *other.streams),
            {**self.since, **other.since},
            self.answer,
            self.attached | other.attached,
            self.missed | other.missed,
            self.revoked | other.revoked,
        )


def _is_recent(known: tuple[float, float]) -> bool:
    return time.monotonic() - known[1] < MOMENT


class Registry:
    """
    Attributes:
        doubtful: Streams of which Redis may not know the true count.
        returning: Of these, those that were registered before the node was fenced.
    """

    def __init__(
        self,
        settings: Settings,
        count: Callable[[Stream], int],
        proof: Callable[[Stream], float | None],
        on_revoked: Callable[[Stream, float], Collection[Stream]],
        mailbox: Mailbox,
        on_top: Callable[[Stream, Position, float], None],
        trouble: Trouble,
    ) -> None:
        self.doubtful: set[Stream] = set()
        self.returning: set[Stream] = set()
        self._settings, self._keyspace = settings, Keyspace.of(settings)
        self._count, self._proof, self._on_revoked = count, proof, on_revoked
        self._mailbox, self._on_top, self._trouble = mailbox, on_top, trouble
        self._waiting: deque[Registration] = deque()
        self._is_wanted = asyncio.Event()
        self._revoked: dict[Stream, tuple[float, float]] = {}  # when users were revoked, and when that was heard
        self._telling = asyncio.Lock()  # of two calls under way the older count might arrive last

    async def register(self, streams: Iterable[Stream], since: Mapping[Stream, Position]) -> Registration:
        """
        Tell Redis how many subscriptions of *streams* are here now.

        Raises:
            Unavailable: Redis did not answer. It is told later, when it does.
        """
        answer = asyncio.get_running_loop().create_future()
        registration = Registration(tuple(streams), since, answer)
        self.doubtful.update(registration.streams)
        await asyncio.sleep(0)  # time counts from the loop's next turn: this one may have thousands to begin with
        if cause := self._trouble.of("presence"):  # who waits in line need not find out one after the other
            raise Unavailable(cause, self._settings.redis_timeout)
        self._waiting.append(registration)
        self._is_wanted.set()
        try:
            async with PatientTimeout(self._settings.redis_timeout):
                await answer
        except TimeoutError as error:
            raise Unavailable("not registered", self._settings.redis_timeout) from error
        return registration

    async def run(self, node: str) -> None:
        """Tell Redis what is wanted, as *node*, until it is fenced."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            while batch := self._take_batch():
                try:
                    await self._serve(node, batch)
                except BaseException:
                    self._waiting.extendleft(reversed(batch))  # under the next name
                    self._is_wanted.set()
                    raise
                await asyncio.sleep(0)  # who was one too many is gone before the next of that user is counted

    async def tell_doubtful(self, node: str, until: float) -> None:
        """
        Tell Redis what it may not know, but stop in time for the next renewal: after a fence they may be thousands.

        Raises:
            Fenced, Unavailable: It was not told.
        """
        todo = tuple(self.doubtful)
        for start in range(0, len(todo), STREAMS_PER_CALL):
            if time.monotonic() > until:
                return
            await self._tell(node, todo[start : start + STREAMS_PER_CALL], [])

    def _take_batch(self) -> list[Registration]:
        batch: list[Registration] = []
        streams: set[Stream] = set()
        while self._waiting and len(streams) < STREAMS_PER_CALL:
            # Of a user's connections one after the other, so that where they are too many not all of them are.
            if any(stream in streams for stream in self._waiting[0].streams if user_of(stream) is not None):
                break
            registration = self._waiting.popleft()
            if not registration.answer.done():
                batch.append(registration)
                streams.update(registration.streams)
        return batch

    async def _serve(self, node: str, batch: list[Registration]) -> None:
        try:
            await self._tell(node, dict.fromkeys(stream for one in batch for stream in one.streams), batch)
        except Unavailable as error:
            for registration in batch:
                if not registration.answer.done():
                    registration.answer.set_exception(Unavailable(error.cause, error.timeout))
        else:
            for registration in batch:
                if not registration.answer.done():
                    registration.answer.set_result(None)

    async def _tell(self, node: str, streams: Collection[Stream], batch: list[Registration]) -> None:
        async with self._telling:
            for keys, group in self._keyspace.group(streams).items():
                asking = [
                    (one, stream) for one in batch for stream in one.since if self._keyspace.of_stream(stream) is keys
                ]
                self.doubtful.difference_update(group)  # here, so that what changes meanwhile is doubtful again
                try:
                    await self._tell_shard(keys, node, group, batch, asking)
                except BaseException:
                    self.doubtful.update(group)
                    raise

    async def _tell_shard(
        self,
        keys: Keys,
        node: str,
        streams: list[Stream],
        batch: list[Registration],
        asking: list[tuple[Registration, Stream]],
    ) -> None:
        self._put_out(streams)
        # Whoever asks, those who are counted and not in yet have proofs to show: this call may come before their own.
        counts = [
            Count(one, self._count(one), self._most(one), self._mailbox.known(one), self._proof(one)) for one in streams
        ]
        since = [(stream, registration.since[stream]) for registration, stream in asking]
        call = attach(keys, node, counts, since, grace=self._settings.offline_grace, ring=self._settings.ring)
        answer = await call_redis(self._settings, call)
        if answer is None:
            raise Fenced
        self.returning.difference_update(set(streams) - set(answer.revoked))
        if answer.revoked:
            self._revoked = {one: known for one, known in self._revoked.items() if _is_recent(known)}
            self._revoked |= {stream: (at, time.monotonic()) for stream, at in answer.revoked.items()}
            self.doubtful.update(answer.revoked)  # those who are still there are told of anew
            self._put_out(answer.revoked)
        attached = {name: one for name, one in zip(streams, answer.attached, strict=True) if one is not None}
        for (registration, stream), page in zip(asking, answer.pages, strict=True):
            registration.missed[stream] = page
        for registration in batch:
            registration.attached |= {name: attached[name] for name in registration.streams if name in attached}
            registration.revoked.update(answer.revoked.keys() & registration.streams)
        for count in counts:
            if count.stream in attached:
                self._learn(count, attached[count.stream])

    def _put_out(self, streams: Iterable[Stream]) -> None:
        """
        End what is here by a proof from before a revocation that was heard of a moment ago. Redis would refuse it, and
        all who come by a new one in the same call: whoever comes again and again would keep them out.
        """
        for stream in streams:
            if (known := self._revoked.get(stream)) and _is_recent(known):
                self.doubtful.update(self._on_revoked(stream, known[0]))

    def _most(self, stream: Stream) -> int:
        is_limited = user_of(stream) is not None and stream not in self.returning
        return self._settings.max_connections_per_user if is_limited else 0

    def _learn(self, count: Count, attached: Attached) -> None:
        if attached.known.seq:
            self._mailbox.learn(count.stream, attached.known)
        if attached.transition:
            self._mailbox.take(attached.transition)
        if count.here:
            self._on_top(count.stream, attached.top, attached.revoked_at)
