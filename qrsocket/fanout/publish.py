"""Publishing, as a `Call`, and the envelope that a node receives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qrsocket.keys import Keys
from qrsocket.message import KINDS, NO_OPTIONS, ORDERS, Kind, Message, Options
from qrsocket.roundtrip import Argument, Call, Script, script_call
from qrsocket.signing import Content, Ring
from qrsocket.streams import Stream

REMEMBER = 300.0
# More recipients go in several calls, so that one send does not hold up everyone: 1 000 take Redis about 5 ms.
RECIPIENTS_PER_CALL = 1_000
# What processes say, and not Redis.
SIGNED = frozenset((Kind.JSON, Kind.TEXT, Kind.BINARY)) | ORDERS


class Keep(NamedTuple):
    """
    How much of what was sent to a stream is kept for who was away.

    Attributes:
        messages: At least so many: Redis drops older ones in blocks. 0: it is neither kept nor counted.
        seconds: For so long after the last one.
    """

    messages: int = 256
    seconds: float = 300.0


NOTHING = Keep(0, 0)


@dataclass(frozen=True, slots=True)
class Routed:
    """Open connections that a message was routed to, and the names of their nodes. Repeated: some time before."""

    connections: int
    nodes: frozenset[str]
    repeated: bool = False


@dataclass(slots=True)
class Envelope:
    """
    What a node receives on its channel.

    Attributes:
        number: Counts the envelopes sent to the node, from 1. Of a heartbeat, the number of the last envelope.
        epoch: Of the offsets.
        message_id: Of what is about a job, the job's id.
        recipients: The streams that the message is for, each with its offset there, or None if it is not counted.
    """

    number: int
    epoch: str
    message_id: str
    recipients: tuple[tuple[Stream, int | None], ...]
    message: Message

    @staticmethod
    def parse(data: bytes, ring: Ring | None = None) -> "Envelope":
        """
        Read `<kind>\\t<number>\\t<epoch>\\t<message id>\\t<options>\\t<stream>\\t<offset>\\t…\\n<payload>`. No id holds
        a control character. An offset may be followed by a dot and a signature.

        Args:
            ring: Keys that messages and orders must be signed by: the others are left without recipients. The rest is
                said by Redis, which has no key.

        Raises:
            ValueError: *data* is not an envelope.
        """
        head, _, payload = data.partition(b"\n")
        kind, number, epoch, message_id, options, *rest = head.decode().split("\t")
        message = Message(KINDS.get(kind) or Kind(kind), payload, Options.of_words(options) if options else NO_OPTIONS)
        if ring is not None and message.kind in SIGNED:
            rest = _genuine(ring, ring.content(kind, options, payload), rest)
        if len(rest) == 2:  # most are for one stream
            recipients: tuple[tuple[Stream, int | None], ...] = ((rest[0], _offset(rest[1])),)
        else:
            recipients = tuple(zip(rest[::2], map(_offset, rest[1::2]), strict=True))
        return Envelope(int(number), epoch, message_id, recipients, message)


def _genuine(ring: Ring, content: Content, words: list[str]) -> list[str]:
    """Return those streams and offsets that the message was signed for."""
    pairs = zip(words[::2], words[1::2], strict=True)
    return [
        word
        for stream, offset in pairs
        if ring.is_genuine(content, stream, offset.partition(".")[2])
        for word in (stream, offset)
    ]


def _offset(word: str) -> int | None:
    offset = word.partition(".")[0]
    return None if offset == "-" else int(offset)


def publish(
    keys: Keys,
    message: Message,
    message_id: str,
    streams: Sequence[Stream],
    *,
    remember: float = REMEMBER,
    keep: Keep = Keep(),  # noqa: B008 - it cannot be changed
    ring: Ring | None = None,
    trail: str = "",
) -> Call[Routed]:
    """
    Describe the sending of *message* to *streams*, at most 1 000 and all of this shard.

    Args:
        remember: Seconds in which the same *message_id* again sends nothing, and returns the same.
        ring: What to sign by.
        trail: What is to be noted of it: see `qrsocket.trail`.
    """
    options = message.options.to_words()
    words: list[Argument] = [message.kind, message_id, message.payload, options]
    words += [round(remember * 1000), keep.messages, round(keep.seconds * 1000), trail]
    if ring is None:
        for stream in streams:
            words += [stream, ""]
    else:
        content = ring.content(message.kind, options, message.payload)
        for stream in streams:
            words += [stream, ring.sign(content, stream)]
    return script_call(Script.load("fanout/publish", base=keys.base), [keys.base], words, _parse_routed)


def _parse_routed(reply: bytes) -> Routed:
    repeated, connections, *nodes = reply.decode().split("\t")
    return Routed(int(connections), frozenset(nodes), repeated == "1")


def probe(keys: Keys, node: str, probe_id: str) -> Call[int]:
    """Describe the sending of a probe to *node*; run, it returns how many subscribers got it (0: nobody listens)."""
    return Call(("PUBLISH", keys.channel(node), f"{Kind.PROBE}\t0\t\t{probe_id}\t\n"), int)


def answer_probe(keys: Keys, answer: str, probe_id: str) -> Call[None]:
    """Describe the *answer* of a node to a probe, what it has to complain of: Redis keeps it for a minute."""
    push = "redis.call('LPUSH', KEYS[1], ARGV[1]) redis.call('EXPIRE', KEYS[1], 60)"
    return script_call(Script(push), [keys.probe(probe_id)], [answer], lambda _reply: None)
