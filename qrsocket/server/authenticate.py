"""What the application answers when it is asked who somebody is."""

import time
from collections.abc import Mapping
from typing import Any, cast

from qrsocket.errors import TokenExpired
from qrsocket.users import User, UserLike, user_id


def user_in(answer: Any) -> User | None:
    """
    Return the user that a handler returned; None means anonymous.

    Args:
        answer: Anything with an `id`, a mapping with `"id"`, the id itself, or None. With `expires_at` and `issued_at`,
            if a User or a mapping has them.

    Raises:
        InvalidUserId: It is none of these.
        TokenExpired: It was one until a while ago.
    """
    if answer is None:
        return None
    if isinstance(answer, Mapping) and "id" in answer:
        user = User(user_id(answer["id"]), answer.get("expires_at"), answer.get("issued_at"))
    else:
        times = (answer.expires_at, answer.issued_at) if isinstance(answer, User) else ()
        user = User(user_id(cast(UserLike, answer)), *times)
    if user.expires is not None and user.expires <= time.time():
        raise TokenExpired
    return user
