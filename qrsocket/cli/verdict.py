"""What the notes on a message come to, in one sentence."""

from collections.abc import Iterable, Mapping
from typing import Any

PLACES = {
    "written": "written to",
    "waiting": "waits for",
    "behind": "read from Redis, after what they missed, by",
    "dropped": "dropped for",
    "left_out": "not meant for",
}


def verdict(notes: Iterable[Mapping[str, Any]]) -> str:
    """Return it. *notes* are those of `qrsocket.cli.why.of_message`, and not empty."""
    by_what: dict[str, list[Mapping[str, Any]]] = {}
    for note in notes:
        by_what.setdefault(note["what"], []).append(note)
    sent, offered = by_what.get("sent", []), by_what.get("offered", [])
    counts = {place: sum(note.get(place, {}).get("count", 0) for note in offered) for place in PLACES}
    recovered = len({note["connection"] for note in by_what.get("recovered", [])})
    parts = [f"{PLACES[place]} {counts[place]}" for place in PLACES if counts[place]]
    if recovered:
        parts.append(f"given to {recovered} that had missed it")
    if parts:
        return ", ".join(parts)
    if not sent:
        return "it was sent before, under the same id, and that is longer ago than trails are kept"
    if sent[0]["connections"]:
        return "a node was to get it and has noted nothing: it does not keep trails, has died, or has not heard it"
    is_kept = any(one["offset"] for note in sent for one in note["streams"])
    if is_kept:
        return "nobody was connected; who comes back in time gets it"
    return "nobody was connected, and it is not kept"
