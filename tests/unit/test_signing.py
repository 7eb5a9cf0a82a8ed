"""The keys that messages between processes are signed by: what is taken, and how keys are changed."""

import hmac
from hashlib import sha256
from itertools import pairwise

import pytest
from pydantic import ValidationError

from qrsocket.fanout.publish import SIGNED, Envelope, publish
from qrsocket.keys import Keys
from qrsocket.message import Kind, Message, Options
from qrsocket.settings import Settings
from qrsocket.signing import Ring

OLD, NEW = "old-" * 8, "new-" * 8
HELLO = Message(Kind.TEXT, b"hello", Options(but="c1"))


def ring(keys: str, domain: str = "app") -> Ring:
    return Ring(keys.split(","), domain)


def envelopes(message: Message, by: Ring | None, *streams: str) -> bytes:
    """What a node gets when a process with the keys *by* sends to *streams*."""
    words = publish(Keys("app:{q0}:"), message, "m1", streams, ring=by).command[2:]
    whom = [f"{stream}\t{7}{'.' * bool(signature)}{signature}" for stream, signature in zip(*[iter(words[8:])] * 2)]  # noqa: B905
    return "\t".join([message.kind, "1", "e", "m1", message.options.to_words(), *whom, ""])[:-1].encode() + b"\nhello"


def taken(data: bytes, by: Ring | None) -> list[str]:
    """The streams to which a node with the keys *by* delivers."""
    return [stream for stream, _ in Envelope.parse(data, by).recipients]


def test_the_signature() -> None:
    """
    It is HMAC-SHA256, cut to 128 bits, of the application, the kind, the options, the digest of the message and whom
    it is for: so that processes of two versions agree.
    """
    signed = envelopes(HELLO, ring(OLD), "u:alice").split(b"\n")[0].rpartition(b".")[2]
    about = b"app\tt\tbut=c1\t" + sha256(b"hello").digest() + b"u:alice"

    assert hmac.digest(OLD.encode(), about, "sha256").hex()[:32].encode() == signed


@pytest.mark.parametrize("kind", sorted(SIGNED))
def test_what_is_signed_arrives(kind: Kind) -> None:
    """
    A message and an order are taken for each recipient, by who has the key, and by who has none.
    """
    data = envelopes(Message(kind, b"hello"), ring(OLD), "u:alice", "t:room")

    assert ["u:alice", "t:room"] == taken(data, ring(OLD)) == taken(data, None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"hello", b"hullo"),
        (b"u:alice", b"u:bob"),
        (b"but=c1", b"but=c2"),
        (b"but=c1", b""),
        (b"t\t1", b"b\t1"),
        (b"t\t1", b"c\t1"),
        (b".", b".0"),
        (b".", b".\xc3\xa9"),
    ],
)
def test_what_was_changed_is_refused(before: bytes, after: bytes) -> None:
    """
    Neither the message, nor its kind, its options, whom it is for or its signature can be another one.
    """
    data = envelopes(HELLO, ring(OLD), "u:alice")

    assert before in data
    assert [] == taken(data.replace(before, after, 1), ring(OLD))


def test_one_of_many_that_is_not_signed() -> None:
    """
    Of the recipients of an envelope those are left out that the message was not signed for.
    """
    data = envelopes(HELLO, ring(OLD), "u:alice", "u:bob").replace(b"u:bob", b"u:eve")

    assert ["u:alice"] == taken(data, ring(OLD))


def test_another_application_with_the_same_key() -> None:
    """
    What was signed in one application counts in no other.
    """
    assert [] == taken(envelopes(HELLO, ring(OLD, "other"), "u:alice"), ring(OLD))


@pytest.mark.parametrize("kind", sorted(set(Kind) - SIGNED))
def test_what_redis_says_is_not_signed(kind: Kind) -> None:
    """
    Redis has no key: what its scripts tell of jobs and members comes as it is.
    """
    assert ["u:alice"] == taken(envelopes(Message(kind, b"hello"), None, "u:alice"), ring(OLD))


@pytest.mark.parametrize(
    "steps",
    [
        [None, f"unsigned,{NEW}", f"{NEW},unsigned", NEW],
        [OLD, f"{OLD},{NEW}", f"{NEW},{OLD}", NEW],
        [OLD, f"{OLD},unsigned", f"unsigned,{OLD}", None],
    ],
    ids=["introduced", "changed", "given up"],
)
def test_keys_change_without_a_loss(steps: list[str | None]) -> None:
    """
    While processes are restarted with the next step, those of both steps take what the other sends.
    """
    rings = [None if step is None else ring(step) for step in steps]

    for before, after in pairwise(rings):
        assert ["u:alice"] == taken(envelopes(HELLO, before, "u:alice"), after)
        assert ["u:alice"] == taken(envelopes(HELLO, after, "u:alice"), before)
    if steps[-1] == NEW:
        assert [] == taken(envelopes(HELLO, rings[0], "u:alice"), rings[-1])


@pytest.mark.parametrize("written", [f"{NEW},{OLD}", f" {NEW} , {OLD} ", (NEW, OLD)])
def test_keys_as_they_are_written(written: object) -> None:
    """
    Keys have commas between them, and spaces do not count.
    """
    keys = Settings(signing_keys=written).signing_keys  # type: ignore[arg-type]

    assert [NEW, OLD] == [key.get_secret_value() for key in keys]


def test_no_keys() -> None:
    """
    Nothing written, as in the file that `qrsocket settings` prints, is no keys.
    """
    assert () == Settings(signing_keys="").signing_keys == Settings().signing_keys  # type: ignore[arg-type]
    assert Settings().ring is None


@pytest.mark.parametrize("written", ["short", f"{NEW},", f"{NEW},short", "unsigned", NEW + "é", f"{NEW} x", 5, ["x"]])
def test_what_is_no_key(written: object) -> None:
    """
    It is refused when the process starts, and not shown.
    """
    with pytest.raises(ValidationError) as raised:
        Settings(signing_keys=written)  # type: ignore[arg-type]

    assert "signing_keys" in str(raised.value)
    assert "short" not in str(raised.value)
    assert NEW not in str(raised.value)
