"""What was kept for who was away, or was not told: the streams, read."""

from collections.abc import Sequence
from typing import Any

from qrsocket.keys import Keys
from qrsocket.position import Missed, Position, parse_missed
from qrsocket.roundtrip import Call, Script, script_call
from qrsocket.signing import Ring
from qrsocket.streams import Stream


def read(keys: Keys, stream: Stream, since: Position, *, ring: Ring | None = None) -> Call[Missed]:
    """Describe the reading of one page, at most 50 messages, of what came after *since*."""
    script = Script.load("fanout/read", base=keys.base)

    def parse(reply: list[Any]) -> Missed:
        epoch, page = reply
        return parse_missed(epoch.decode(), page, stream, ring)

    return script_call(script, [keys.base], [stream, since.epoch, since.offset], parse)


def tops(keys: Keys, streams: Sequence[Stream]) -> Call[dict[Stream, Position]]:
    """Describe the question which message is the newest of each of *streams*."""

    def parse(reply: list[Any]) -> dict[Stream, Position]:
        epoch, *offsets = (word.decode() for word in reply)
        return {stream: Position(epoch, int(top)) for stream, top in zip(streams, offsets, strict=True)}

    script = Script.load("fanout/tops", base=keys.base)
    return script_call(script, [keys.base], list(streams), parse)
