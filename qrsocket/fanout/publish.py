"""Publishing, as a `Call`, and the frame that a node receives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from qrsocket.audience import Audience
from qrsocket.keys import Keys
from qrsocket.message import Kind, Message
from qrsocket.roundtrip import Call, Script, Word, script_call

REMEMBER = 300.0
# More recipients go in several calls, so that one send does not hold up everyone: 1 000 take Redis about 5 ms.
RECIPIENTS_PER_CALL = 1_000


class Keep(NamedTuple):
    """
    How much of what was sent to an audience is kept for who was away.

    Attributes:
        messages: At least so many: Redis drops older ones in blocks.
        seconds: For so long after the last one.
    """

    messages: int = 256
    seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Routed:
    """Open connections that a message was routed to, and the names of their nodes."""

    connections: int
    nodes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Frame:
    """
    What a node receives on its channel.

    Attributes:
        number: Counts the frames sent to the node, from 1. Of a heartbeat, the number of the last frame.
        epoch: Of the offsets.
        recipients: Those of this node's that the payload is for, each with the message's offset among its own.
    """

    kind: Kind
    number: int
    epoch: str
    message_id: str
    recipients: tuple[tuple[Audience, int], ...]
    payload: bytes

    @staticmethod
    def parse(data: bytes) -> "Frame":
        """
        Read `<kind>\\t<number>\\t<epoch>\\t<message id>\\t<audience>\\t<offset>\\t…\\n<payload>`. No id holds a control
        character.

        Raises:
            ValueError: *data* is not a frame.
        """
        head, _, payload = data.partition(b"\n")
        kind, number, epoch, message_id, *rest = head.decode().split("\t")
        recipients = tuple(zip(rest[::2], map(int, rest[1::2]), strict=True))
        return Frame(Kind(kind), int(number), epoch, message_id, recipients, payload)


def publish(
    keys: Keys,
    message: Message,
    message_id: str,
    audiences: Sequence[Audience],
    *,
    remember: float = REMEMBER,
    keep: Keep = Keep(),  # noqa: B008 - it cannot be changed
) -> Call[Routed]:
    """
    Describe the sending of *message* to *audiences*, at most 1 000 and all of this shard.

    Args:
        remember: Seconds in which the same *message_id* again sends nothing, and returns the same.
    """
    limits: list[Word] = [round(remember * 1000), keep.messages, round(keep.seconds * 1000)]
    args: list[Word] = [message.kind, message_id, message.payload, *limits, *audiences]
    script = Script.load("qrsocket.fanout", "publish", "epoch", "stream", base=keys.base)
    return script_call(script, [keys.base], args, _parse_routed)


def _parse_routed(reply: list[Any]) -> Routed:
    connections, *nodes = reply
    return Routed(connections, frozenset(node.decode() for node in nodes))


def probe(keys: Keys, node: str, probe_id: str) -> Call[int]:
    """Describe the sending of a probe to *node*; run, it returns how many subscribers got it (0: nobody listens)."""
    return Call(("PUBLISH", keys.channel(node), f"{Kind.PROBE}\t0\t\t{probe_id}\n"), int)


def answer_probe(keys: Keys, node: str, probe_id: str) -> Call[None]:
    """Describe the answer of *node* to a probe: Redis keeps it for a minute."""
    push = "redis.call('LPUSH', KEYS[1], ARGV[1]) redis.call('EXPIRE', KEYS[1], 60)"
    return script_call(Script(push), [keys.probe(probe_id)], [node], lambda _reply: None)
