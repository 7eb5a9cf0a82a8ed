"""What the application answers when it is asked who somebody is."""

from collections.abc import Mapping
from typing import Any, cast

from qrsocket.audience import UserLike, user_id


def user_of(answer: Any) -> str | None:
    """
    Return the id of the user that a handler returned; None means anonymous.

    Args:
        answer: Anything with an `id`, a mapping with `"id"`, the id itself, or None.

    Raises:
        InvalidUserId: It is none of these.
    """
    if answer is None:
        return None
    if isinstance(answer, Mapping) and "id" in answer:
        answer = answer["id"]
    return user_id(cast(UserLike, answer))
