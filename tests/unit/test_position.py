"""A page of what was missed, as Redis answers it, and where a client is before and after it."""

from qrsocket.message import Kind, Message
from qrsocket.position import Entry, Missed, Position, parse_missed


def test_a_page_is_read() -> None:
    """
    A page has the newest offset, the one that is reached, whether it is whole, and then the messages.
    """
    missed = parse_missed("e1", [b"13", b"12", 1, [b"11", b"t", b"one"], [b"12", b"b", b"\x00\xff"]], "u:alice")

    assert missed == Missed(
        top=Position("e1", 13),
        reached=Position("e1", 12),
        is_whole=True,
        entries=(Entry(11, Message(Kind.TEXT, b"one")), Entry(12, Message(Kind.BINARY, b"\x00\xff"))),
    )
    assert Position("e1", 10) == missed.start


def test_an_empty_page_begins_where_it_ends() -> None:
    """
    Without messages a page goes on, without a gap, from the position that it reaches.
    """
    missed = parse_missed("e1", [b"13", b"13", 0], "u:alice")

    assert Missed(Position("e1", 13), Position("e1", 13), is_whole=False) == missed
    assert Position("e1", 13) == missed.start
