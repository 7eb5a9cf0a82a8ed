"""What was kept for who was away, or was not told: the streams, read."""

from collections.abc import Sequence
from typing import Any

from qrsocket.audience import Audience
from qrsocket.keys import Keys
from qrsocket.position import Missed, Position, parse_missed
from qrsocket.roundtrip import Call, Script, script_call


def read(keys: Keys, audience: Audience, since: Position) -> Call[Missed]:
    """Describe the reading of one page, at most 50 messages, of what came after *since*."""
    script = Script.load("qrsocket.fanout", "read", "epoch", "stream", base=keys.base)
    return script_call(script, [keys.base], [audience, since.epoch, since.offset], parse_missed)


def tops(keys: Keys, audiences: Sequence[Audience]) -> Call[dict[Audience, Position]]:
    """Describe the question which message is the newest of each of *audiences*."""

    def parse(reply: list[Any]) -> dict[Audience, Position]:
        epoch, *offsets = (word.decode() for word in reply)
        return {audience: Position(epoch, int(top)) for audience, top in zip(audiences, offsets, strict=True)}

    script = Script.load("qrsocket.fanout", "tops", "epoch", "stream", base=keys.base)
    return script_call(script, [keys.base], list(audiences), parse)
