"""
The names of streams: messages in order, that connections subscribe to.

    u:<user id>         what is sent to a user
    c:<connection id>   what is sent to one connection
    t:<topic>           what is sent to all who have joined a topic
    *                   what is sent to everyone

Two more are only counted. Of what they tell, the newest state counts, and it can be read:

    j:<stream>          a job of whose stream it is has entered a state
    m:<topic>           users have joined the topic, or left it; `m:<topic> <user>` is one user's part in it
"""

from collections.abc import Sequence
from typing import TypeAlias

Stream: TypeAlias = str

EVERYONE: Stream = "*"
MOST_SHOWN = 5


def of_user(id: str) -> Stream:
    return f"u:{id}"


def of_connection(id: str) -> Stream:
    return f"c:{id}"


def of_topic(name: str) -> Stream:
    return EVERYONE if name == EVERYONE else f"t:{name}"


def of_jobs(owner: Stream) -> Stream:
    return f"j:{owner}"


def of_members(topic: str) -> Stream:
    return f"m:{topic}"


def of_member(topic: str, user: str) -> Stream:
    return f"m:{topic} {user}"


def shown(streams: Sequence[Stream]) -> str:
    """Return some of *streams* in one line, for the log."""
    more = len(streams) - MOST_SHOWN
    return " ".join(streams[:MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def home_of(stream: Stream) -> Stream:
    """Return the stream that has to be in the same shard."""
    match stream[:2]:
        case "j:":
            return stream[2:]
        case "m:":
            return of_topic(stream[2:].partition(" ")[0])
        case _:
            return stream


def user_of(stream: Stream) -> str | None:
    """Return the id of the user whose stream it is, or None if it is no user's."""
    return stream[2:] if stream.startswith("u:") else None


def topic_of(stream: Stream) -> str | None:
    """Return the name of the topic whose stream it is, `*` for everyone's, or None if it is no topic's."""
    return stream[2:] if stream.startswith("t:") else stream if stream == EVERYONE else None
