"""Names of topics."""

import pytest

from qrsocket.errors import InvalidTopic, QRSocketError
from qrsocket.topics import is_topic, topic_name

GOOD = ["a", "7", "room:7", "files:a/b.txt", "x" * 200, "a!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~", "a*"]
BAD = [
    "",
    "*",
    "x" * 201,
    "a b",
    " a",
    "a ",
    "a\n",
    "\na",
    "a\x7f",
    "ümlaut",
    "aü",
    "-a",
    ":a",
    "_a",
    "!a",
    "{a}",
    "a\0",
]


@pytest.mark.parametrize("name", GOOD)
def test_a_name_is_visible_ascii(name: str) -> None:
    """
    1 to 200 visible characters, the first a letter or a digit.
    """
    assert name == topic_name(name)
    assert is_topic(name)


@pytest.mark.parametrize("name", [*BAD, None, 7, b"room", ["room"]], ids=ascii)
def test_what_is_no_name_is_refused(name: object) -> None:
    """
    Anything else raises InvalidTopic, which is a ValueError and says what a name is.
    """
    with pytest.raises(InvalidTopic, match="1 to 200 visible ASCII characters") as refusal:
        topic_name(name)

    assert isinstance(refusal.value, ValueError)
    assert isinstance(refusal.value, QRSocketError)
    assert ("*" == name) == is_topic(name)


def test_everyones_is_a_topic_that_nobody_can_name() -> None:
    """
    `*` can be told to a client, and no application or client can join it or send to it by name.
    """
    assert is_topic("*")
    with pytest.raises(InvalidTopic):
        topic_name("*")
