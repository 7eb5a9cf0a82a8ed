"""Publishing, as a `Call`, and the frame that a node receives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qrsocket.audience import Audience
from qrsocket.keys import Keys
from qrsocket.message import Kind, Message
from qrsocket.roundtrip import Call, Script, Word, script_call

REMEMBER_ID_MS = 300_000
# More recipients go in several calls, so that one send does not hold up everyone: 1 000 take Redis about 1 ms.
RECIPIENTS_PER_CALL = 1_000


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
        audiences: Those of this node's that the payload is for.
    """

    kind: Kind
    number: int
    message_id: str
    audiences: tuple[Audience, ...]
    payload: bytes

    @staticmethod
    def parse(data: bytes) -> "Frame":
        """
        Read `<kind>\\t<number>\\t<message id>\\t<audience>\\t…\\n<payload>`. Ids hold no control characters.

        Raises:
            ValueError: *data* is not a frame.
        """
        head, _, payload = data.partition(b"\n")
        kind, number, message_id, *audiences = head.decode().split("\t")
        return Frame(Kind(kind), int(number), message_id, tuple(audiences), payload)


def publish(keys: Keys, message: Message, message_id: str, audiences: Sequence[Audience]) -> Call[Routed]:
    """Describe the sending of *message* to the connections of *audiences*, at most 1 000 and all of this shard."""
    args: list[Word] = [message.kind, message_id, message.payload, REMEMBER_ID_MS, *audiences]
    script = Script.load("qrsocket.fanout", "publish")
    return script_call(script, [keys.base], args, _parse_routed)


def _parse_routed(reply: list[Any]) -> Routed:
    connections, *nodes = reply
    return Routed(connections, frozenset(node.decode() for node in nodes))


def probe(keys: Keys, node: str, probe_id: str) -> Call[int]:
    """Describe the sending of a probe to *node*; run, it returns how many subscribers got it (0: nobody listens)."""
    return Call(("PUBLISH", keys.channel(node), f"{Kind.PROBE}\t0\t{probe_id}\n"), int)


def answer_probe(keys: Keys, node: str, probe_id: str) -> Call[None]:
    """Describe the answer of *node* to a probe: Redis keeps it for a minute."""
    push = "redis.call('LPUSH', KEYS[1], ARGV[1]) redis.call('EXPIRE', KEYS[1], 60)"
    return script_call(Script(push), [keys.probe(probe_id)], [node], lambda _reply: None)
