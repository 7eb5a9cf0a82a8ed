"""Groups for libraries that send to groups alone: one for each user, for each hundred of them, and for the topic."""

from bench.publisher import TOPIC, Target

SOME = 100


def groups_of(user: str, topic: str) -> list[str]:
    """Return the groups that a connection is in."""
    return [f"user.{user}", f"hundred.{int(user) // SOME}", *([topic] if topic else ())]


def group_of(to: Target) -> str:
    """Return the group that is sent to. More than one user are a hundred."""
    if to is None:
        return TOPIC
    return f"user.{to[0]}" if len(to) == 1 else f"hundred.{int(to[0]) // SOME}"
