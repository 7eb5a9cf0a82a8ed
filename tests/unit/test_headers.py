"""Headers of frames: words that both sides read, whatever a newer version adds."""

import pytest

from qrsocket.headers import read_header, read_words, words, write_header

ODD = ["a=b", "50%", "a b", "tab\there", "line\nend", "=", "ümlaut 李😀", "%41", "&+?#/", "\x00\x7f", "!x", "-"]


@pytest.mark.parametrize("value", ODD, ids=ascii)
def test_what_is_written_is_read(value: str) -> None:
    """
    A value comes back as it was, and never ends the word or the header: spaces and line ends are encoded.
    """
    header = write_header("17", {"t": value, "k": "x"})

    assert ("17", {"t": value, "k": "x"}) == read_header(header)
    assert 2 == header.count(" ")
    assert header.isascii()
    assert header.isprintable()


def test_visible_ascii_stays_readable() -> None:
    """
    Only what would be misread is encoded: of visible ASCII, the percent sign.
    """
    visible = "".join(map(chr, range(0x21, 0x7F)))

    assert [f"t={visible.replace('%', '%25')}"] == words({"t": visible})


def test_empty_fields_are_left_out() -> None:
    """
    A header without fields is its first word.
    """
    assert "-" == write_header("-", {})
    assert "- k=x" == write_header("-", {"t": "", "k": "x", "r": ""})


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("17 t=room:7 zz=new", {"t": "room:7", "zz": "new"}),
        ("17 flag t=room:7", {"t": "room:7"}),
        ("17 q=", {"q": ""}),
        ("17 =x", {"": "x"}),
        ("17 t=a t=b", {"t": "b"}),
        ("17 t=%ff", {"t": "\ufffd"}),
        ("17 t=%4", {"t": "%4"}),
    ],
)
def test_words_that_nobody_knows_do_no_harm(header: str, fields: dict[str, str]) -> None:
    """
    Keys and flags of a newer version are read past, and what is encoded badly is read as something.
    """
    assert ("17", fields) == read_header(header)


@pytest.mark.parametrize("header", ["", " ", " 17", "17 ", "17  t=x", "17 t=x "])
def test_what_is_no_header_is_refused(header: str) -> None:
    """
    No first word, and more than one space between two, raise ValueError.
    """
    with pytest.raises(ValueError, match="single spaces"):
        read_header(header)


def test_words_alone() -> None:
    """
    Words are read without a first one, as the options of a message are.
    """
    assert {"latest": "a b", "but": "c1"} == read_words(words({"latest": "a b", "but": "c1", "user": ""}))
