"""From where a client goes on in a stream, and whether it gets all that it has missed."""

from typing import Any

from qrsocket.position import Missed, Position
from qrsocket.presence.registry import Registration
from qrsocket.server.connection import Connection
from qrsocket.streams import Stream


def page_of(connection: Connection, answered: Registration, stream: Stream) -> Missed:
    """Return what a client that comes back has missed; for one that does not, what came since Redis knew of it."""
    if stream in answered.missed:
        return answered.missed[stream]
    top, subscription = answered.attached[stream].top, connection.subscriptions.get(stream)
    starts = subscription.starts if subscription is not None else None
    return Missed(top, starts if starts is not None and starts.epoch == top.epoch else top, True)


def shown(connection: Connection, stream: Stream, page: Missed, since: Position | None) -> dict[str, Any]:
    """Return the fields of `ready` and `joined` for a client that was at *since*, and reads *page* next."""
    is_recovered = since is not None and page.is_whole
    if since is not None and not is_recovered:
        connection.note_gap(stream, page.start)
    start = since if since is not None and is_recovered else page.start
    return {**start._asdict(), "recovered": is_recovered}


def shown_again(position: Position | None, since: Position | None) -> dict[str, Any]:
    """Return the same for a client that has joined before and is at *position*: what came after *since* is not read."""
    return {} if position is None else {**position._asdict(), "recovered": since in (None, position)}
