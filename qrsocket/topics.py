"""Names of topics, and patterns that they fit."""

import re

from qrsocket.errors import InvalidTopic
from qrsocket.streams import EVERYONE

MAX_TOPICS = 100  # that a connection may join
NAME = re.compile(r"[A-Za-z0-9][!-~]{0,199}")


def is_topic(name: object) -> bool:
    """Whether *name* can be that of a topic; `*`, everyone's, is one as well."""
    return isinstance(name, str) and (name == EVERYONE or NAME.fullmatch(name) is not None)


def topic_name(name: object) -> str:
    """
    Return *name*.

    Raises:
        InvalidTopic: It is not 1 to 200 visible ASCII characters that begin with a letter or a digit.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidTopic(
            'a topic is 1 to 200 visible ASCII characters, the first a letter or a digit, such as f"room:{room.id}"'
        )
    return name
