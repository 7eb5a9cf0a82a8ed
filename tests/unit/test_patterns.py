"""Patterns of topics: which names fit, with which values, and what is no pattern."""

import pytest

from qrsocket.server.patterns import ON_JOIN, ON_LEAVE, TopicHandler, compiled, first_that_fits


@pytest.mark.parametrize(
    ("pattern", "topic", "values"),
    [
        ("lobby", "lobby", {}),
        ("room:{id}", "room:7", {"id": "7"}),
        ("room:{id}", "room:a b", {"id": "a b"}),  # no topic has a space; the pattern need not know
        ("room:{room_id}:{part}", "room:7:chat", {"room_id": "7", "part": "chat"}),
        ("{kind}/{id}", "doc/7", {"kind": "doc", "id": "7"}),
        ("files:{name:path}", "files:a/b:c.txt", {"name": "a/b:c.txt"}),
        ("{all:path}", "anything:at/all", {"all": "anything:at/all"}),
        ("{name:path}:log", "a:b:log", {"name": "a:b"}),
        ("a.b", "a.b", {}),
        ("a+b(c)[d]*", "a+b(c)[d]*", {}),
        ("{_x1}", "y", {"_x1": "y"}),
    ],
)
def test_a_name_that_fits(pattern: str, topic: str, values: dict[str, str]) -> None:
    """
    A parameter takes anything but `:` and `/`, one with `:path` anything; all else is taken as it is written.
    """
    found = compiled(pattern).fullmatch(topic)

    assert found is not None
    assert values == found.groupdict()


@pytest.mark.parametrize(
    ("pattern", "topic"),
    [
        ("lobby", "lobby2"),
        ("lobby", "my-lobby"),
        ("lobby", "Lobby"),
        ("room:{id}", "room:"),
        ("room:{id}", "room:7:8"),
        ("room:{id}", "room:7/8"),
        ("room:{id}", "xroom:7"),
        ("files:{name:path}", "files:"),
        ("a.b", "axb"),
        ("a+b", "aab"),
    ],
)
def test_a_name_that_does_not_fit(pattern: str, topic: str) -> None:
    """
    The whole name must fit; a parameter is never empty.
    """
    assert compiled(pattern).fullmatch(topic) is None


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "room:{", "room:}", "room:{}", "room:{1}", "room:{a-b}", "room:{id:int}", "{{id}}", "{id}:{id}", "a b"),
        *("rüm", "{a:path}:{b:path}", "{a}-{b}-{c}", "room:{a}{b}{c}", "x/{a}.{b}.{c}/y"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    """
    It says so when it is registered, and shows it.
    """
    with pytest.raises(ValueError, match="is no pattern of topics") as refusal:
        compiled(pattern)

    assert repr(pattern) in str(refusal.value)


async def first() -> None: ...


async def second() -> None: ...


def test_the_first_that_fits_counts() -> None:
    """
    Patterns are tried in the order in which they were registered; a name that fits none has no handler.
    """
    handlers = [
        TopicHandler.of("room:{id}", first, ON_JOIN, has_members=True),
        TopicHandler.of("{all:path}", second, ON_JOIN),
    ]

    for topic, call, values in (("room:7", first, {"id": "7"}), ("room:7:8", second, {"all": "room:7:8"})):
        found = first_that_fits(handlers, topic)
        assert found is not None
        assert (call, values) == (found[0].function.call, found[1])
    assert (True, False) == tuple(handler.has_members for handler in handlers)
    assert first_that_fits(handlers[:1], "lobby") is None
    assert first_that_fits([], "lobby") is None


def test_a_handler_may_ask_for_what_its_pattern_has() -> None:
    """
    Of ours: topic, user and connection; the parameters of the pattern come as those of a path do.
    """

    async def may_join(topic: str, user: object, connection: str, room_id: int) -> None: ...

    for kind in (ON_JOIN, ON_LEAVE):
        assert {"topic", "user", "connection"} == set(
            TopicHandler.of("room:{room_id}", may_join, kind).function.parameters
        )


@pytest.mark.parametrize("pattern", ["room:{id", "{id}:{id}"])
def test_a_handler_of_no_pattern_is_refused(pattern: str) -> None:
    """
    To register for what is no pattern raises ValueError.
    """
    with pytest.raises(ValueError, match="is no pattern"):
        TopicHandler.of(pattern, first, ON_JOIN)
