"""Users whose proofs do not count any more, as `Call`s. A connection that comes is compared by `table.attach`."""

from collections.abc import Sequence

from qrsocket.keys import Keys
from qrsocket.roundtrip import Call, Script, script_call
from qrsocket.streams import Stream


def revoke(keys: Keys, streams: Sequence[Stream], *, seconds: float) -> Call[None]:
    """Describe that nothing which was issued for the users of *streams* until now counts, for so many *seconds*."""
    script = Script.load("presence/revoke")
    return script_call(script, [keys.base], [round(seconds * 1000), *streams], lambda _reply: None)


def revoked_at(keys: Keys, stream: Stream) -> Call[float]:
    """Describe the question when the user of *stream* was revoked (Unix time); 0 if that was never, or is long over."""
    return Call(("GET", keys.revoked(stream)), lambda reply: int(reply or 0) / 1000)
