"""The names of all keys and channels in Redis, and nothing else knows them."""

import re
from binascii import crc_hqx
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from qrsocket.settings import Settings
from qrsocket.streams import Stream, home_of

TASK_ID = re.compile(r"\w[!-~]{0,159}", re.ASCII)


def fit(task_id: str) -> str:
    """Return *task_id* or, where the caller of a task chose one that is long or odd, a digest of it."""
    if TASK_ID.fullmatch(task_id):
        return task_id
    return blake2b(task_id.encode(errors="surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
    """
    The keys of one shard. All carry one hash tag, so that a script may touch any of them together.

    Attributes:
        base: `<prefix>:<application>:{q<shard>}:`

    Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """

    base: str

    @property
    def nodes(self) -> str:
        """Sorted set: node incarnation -> end of its lease (Unix ms)."""
        return f"{self.base}nodes"

    @property
    def reaping(self) -> str:
        """Sorted set: node whose lease has ended and that is being emptied -> since (Unix ms)."""
        return f"{self.base}reaping"

    @property
    def grace(self) -> str:
        """Sorted set: stream that is gone but not yet said to be -> when it will be (Unix ms)."""
        return f"{self.base}grace"

    @property
    def envelopes(self) -> str:
        """Hash: node -> envelopes sent to it."""
        return f"{self.base}envelopes"

    @property
    def server(self) -> str:
        """Hash: run_id, epoch, quiet_until, lease_ms, beat. Which process of Redis was last seen, and when."""
        return f"{self.base}server"

    def streams(self, node: str) -> str:
        """Set: streams that *node* has subscriptions of."""
        return f"{self.base}node:{node}:streams"

    def figures(self, node: str) -> str:
        """String: what *node* says of itself (JSON). Ends with its lease."""
        return f"{self.base}node:{node}:figures"

    def claims(self, node: str) -> str:
        """Set: streams whose transition *node* is to tell."""
        return f"{self.base}node:{node}:claims"

    def route(self, stream: Stream) -> str:
        """Hash: node -> open connections of *stream* there. Empty means offline."""
        return f"{self.base}route:{stream}"

    def state(self, stream: Stream) -> str:
        """Hash: seq, online, told_seq, told. The last change that was decided, and the last that was told to hooks."""
        return f"{self.base}state:{stream}"

    def transitions(self, stream: Stream) -> str:
        """List: `<seq>|online` or `<seq>|offline`. The mailbox of transitions to tell; its head is being told."""
        return f"{self.base}transitions:{stream}"

    def claim(self, stream: Stream) -> str:
        """Hash: node, seq, attempt. Who tells the head of the mailbox."""
        return f"{self.base}claim:{stream}"

    def position(self, stream: Stream) -> str:
        """String: offset of the newest message."""
        return f"{self.base}position:{stream}"

    def history(self, stream: Stream) -> str:
        """Stream: `<offset>-0` -> k, p: kind and payload of the last messages."""
        return f"{self.base}history:{stream}"

    def members(self, topic: str) -> str:
        """Set: ids of the users who have joined *topic*, as the others were told."""
        return f"{self.base}members:{topic}"

    def revoked(self, stream: Stream) -> str:
        """String: when the user was last revoked (Unix ms). What was issued before does not count any more."""
        return f"{self.base}revoked:{stream}"

    def trail(self, name: str) -> str:
        """List: JSON of what became of the message, or in the stream, with this *name*: see `qrsocket.trail`."""
        return f"{self.base}trail:{name}"

    def sent(self, message_id: str) -> str:
        """String: the answer to a publish, so that the same message is not sent twice."""
        return f"{self.base}sent:{message_id}"

    @property
    def due(self) -> str:
        """Sorted set: `<id> <owner>` of a job -> when something is decided about it (Unix ms)."""
        return f"{self.base}due"

    @property
    def lines(self) -> str:
        """Set: queues that jobs wait in."""
        return f"{self.base}lines"

    @property
    def tasks(self) -> str:
        """Hash: name of a task -> how it is told of, as workers have announced."""
        return f"{self.base}tasks"

    @property
    def consumed(self) -> str:
        """Sorted set: queue -> until when (ms) a worker is known to consume it."""
        return f"{self.base}consumed"

    @property
    def workers(self) -> str:
        """Hash: worker -> until when it is taken for alive (Unix ms), a space, and what it says of itself (JSON)."""
        return f"{self.base}workers"

    @property
    def ended(self) -> str:
        """Sorted set: `<id> <owner>` of a job that has ended -> when (Unix ms). The newest ones."""
        return f"{self.base}ended"

    def line(self, queue: str) -> str:
        """Sorted set: `<id> <owner>` of a job that waits in *queue* -> since when (Unix ms)."""
        return f"{self.base}line:{queue}"

    def record(self, owner: Stream, id: str) -> str:
        """Hash: what is known of a job. Ends `job_seconds` after the job."""
        return f"{self.base}job:{id} {owner}"

    def jobs(self, owner: Stream) -> str:
        """Sorted set: id of a job -> when it was queued (Unix ms)."""
        return f"{self.base}jobs:{owner}"

    def chunks(self, owner: Stream, id: str) -> str:
        """Stream: `<n>-0` -> t, a: a piece of what a job writes, and 1 if the job has begun again with it."""
        return f"{self.base}chunks:{id} {owner}"

    def probe(self, probe_id: str) -> str:
        """List: nodes that have seen a probe."""
        return f"{self.base}probe:{probe_id}"

    def channel(self, node: str) -> str:
        """Pub/sub channel that *node* listens on."""
        return f"{self.base}channel:{node}"


@dataclass(frozen=True, slots=True)
class Keyspace:
    """All shards of one application."""

    shards: tuple[Keys, ...]

    @staticmethod
    def of(settings: Settings) -> "Keyspace":
        return _keyspace(settings.prefix, settings.application, settings.shards)

    def of_stream(self, stream: Stream) -> Keys:
        return self.shards[_crc16(home_of(stream)) % len(self.shards)]

    def group(self, streams: Iterable[Stream]) -> dict[Keys, list[Stream]]:
        """Sort *streams* by the shard that holds them."""
        groups: dict[Keys, list[Stream]] = {}
        for stream in streams:
            groups.setdefault(self.of_stream(stream), []).append(stream)
        return groups


@lru_cache(maxsize=8)
def _keyspace(prefix: str, application: str, shards: int) -> Keyspace:
    return Keyspace(tuple(Keys(f"{prefix}:{application}:{{q{shard}}}:") for shard in range(shards)))


def _crc16(stream: Stream) -> int:
    """CRC-16/XMODEM, the checksum that Redis Cluster places keys by."""
    return crc_hqx(stream.encode(), 0)
