"""The trail of a message or a user in words, for `qrsocket why` and the console."""

import time
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
    """
    Return in one sentence what the notes on a message come to.

    Args:
        notes: Those of `qrsocket.trail.of_message`, at least one.
    """
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


def line(note: Mapping[str, Any]) -> str:
    """Return one note as a line, with its time and its node."""
    at = time.strftime("%H:%M:%S", time.localtime(note["at"] / 1000)) + f".{note['at'] % 1000:03}"
    return f"{at}  {note.get('node', 'Redis'):<20}  {_words(note)}"


def _words(note: Mapping[str, Any]) -> str:
    match note["what"]:
        case "sent" if "streams" in note:
            nodes = note["nodes"].replace("\t", " ").strip() or "no node"
            return f"{_sender(note)} sent it to {_recipients(note)}: {_count(note['connections'])} on {nodes}"
        case "sent":
            return f"message {note['id']}" + (
                f" at offset {note['offset']}" if note["offset"] else ", which is not kept"
            )
        case "repeated":
            return f"{_sender(note)} sent it again under the same id: nobody gets it twice"
        case "offered":
            return ", ".join(_place(note, place) for place in PLACES if place in note) or "nobody here is subscribed"
        case "recovered":
            return f"{note['connection']} was given the messages {note['first']} to {note['last']} that it had missed"
        case "behind":
            return f"fell behind, and read what they missed: {' '.join(note['connections'])}"
        case "gap":
            return f"{note['connection']} was told that messages are gone"
        case "closed":
            return f"{note['connection']} closed: {note['code']} {note['reason']}".rstrip()
        case what:
            return f"{note['connection']} {what}"


def _sender(note: Mapping[str, Any]) -> str:
    by = note["by"]
    if "task" in by:
        return f"job {by['task']} in {by['process']}"
    for_whom = f" for {by['user']}" if "user" in by else ""
    return f"{by['process']}{for_whom}"


def _recipients(note: Mapping[str, Any]) -> str:
    first = [f"{one['stream']}" + (f" at {one['offset']}" if one["offset"] else "") for one in note["streams"][:5]]
    more = note["recipients"] - len(first)
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def _place(note: Mapping[str, Any], place: str) -> str:
    there = note[place]
    more = "" if there["count"] == len(there["first"]) else f" and {there['count'] - len(there['first'])} more"
    return f"{PLACES[place]} {' '.join(there['first'])}{more}"


def _count(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"
