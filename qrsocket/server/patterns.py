"""Patterns of topics, and what the application has registered for those that fit them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qrsocket.server.parameters import Function, Kind

PARAMETERS = frozenset({"topic", "user", "connection"})
ON_JOIN, ON_LEAVE = Kind("on_join", PARAMETERS), Kind("on_leave", PARAMETERS)
PARAMETER = re.compile(r"\{([A-Za-z_]\w*)(:path)?\}")


@dataclass(frozen=True, slots=True)
class TopicHandler:
    """
    Attributes:
        has_members: Of a topic that fits, those who have joined are told who else has.
    """

    pattern: re.Pattern[str]
    function: Function
    has_members: bool = False

    @staticmethod
    def of(pattern: str, call: Callable[..., Any], kind: Kind, *, has_members: bool = False) -> "TopicHandler":
        """
        Raises:
            ValueError: *pattern* is none.
        """
        return TopicHandler(compiled(pattern), Function(call, kind), has_members)


def compiled(pattern: str) -> re.Pattern[str]:
    """
    Return the regular expression of a pattern such as `room:{id}`: a parameter takes anything but `:` and `/`, as
    `{name:path}` anything at all.

    Raises:
        ValueError: Braces that are no parameter, the same name twice, characters that no topic has, or so many
            parameters side by side that to try all ways in which they could share a name takes long.
    """
    parts, end = [], 0
    for found in PARAMETER.finditer(pattern):
        parts += [re.escape(pattern[end : found.start()]), f"(?P<{found[1]}>{'.+' if found[2] else '[^:/]+'})"]
        end = found.end()
    rest = PARAMETER.sub("", pattern)
    if not pattern or "{" in rest or "}" in rest or not re.fullmatch(r"[!-~]*", rest):
        raise ValueError(f'{pattern!r} is no pattern of topics: write them as "room:{{id}}" or "files:{{name:path}}"')
    between = re.split("[:/]", PARAMETER.sub("{", pattern))
    if pattern.count(":path}") > 1 or max(part.count("{") for part in between) > 2:
        raise ValueError(f"{pattern!r} is no pattern of topics: one :path at most, and two parameters between : or /")
    try:
        return re.compile("".join((*parts, re.escape(pattern[end:]))))
    except re.error as error:
        raise ValueError(f"{pattern!r} is no pattern of topics: {error}") from None


def first_that_fits(handlers: list[TopicHandler], topic: str) -> tuple[TopicHandler, dict[str, str]] | None:
    """Return the handler that counts for *topic*, and the values of the pattern's parameters."""
    for handler in handlers:
        if found := handler.pattern.fullmatch(topic):
            return handler, found.groupdict()
    return None
