"""The names in Redis: all of a shard under one hash tag, each kind apart."""

from inspect import signature

import pytest

from qrsocket.keys import Keys, Keyspace
from qrsocket.settings import Settings


def every_name(keys: Keys, word: str) -> list[str]:
    """Return all names that *keys* makes, with *word* for each id: found by looking, so that a new one is covered."""
    names = []
    for name in vars(Keys):
        member = getattr(keys, name)
        if name.startswith("_") or name == "base":
            continue
        names.append(member(*[word] * len(signature(member).parameters)) if callable(member) else member)
    return names


def test_a_base_is_prefix_application_and_hash_tag() -> None:
    """
    The base holds the prefix, the application and one hash tag for each shard.
    """
    keyspace = Keyspace.of(Settings(prefix="my.prefix", application="shop", shards=2))

    assert ("my.prefix:shop:{q0}:", "my.prefix:shop:{q1}:") == tuple(keys.base for keys in keyspace.shards)


@pytest.mark.parametrize("word", ["alice", "", "u:{other}", "nodes", "a:b"])
def test_all_names_of_a_shard_are_different_and_in_its_slot(word: str) -> None:
    """
    Each name begins with the base, whose braces are the first, so that no user id moves a key to another slot.
    """
    names = every_name(Keyspace.of(Settings()).shards[0], word)

    assert 30 == len(set(names)) == len(names)
    assert [] == [name for name in names if name[name.index("{") :][:5] != "{q0}:"]
    assert [] == [name for name in names if not name.startswith("qrsocket:app:{q0}:")]


def test_an_audience_stays_in_its_shard() -> None:
    """
    The shard is the CRC-16 of the stream, the one of Redis Cluster: it does not change between processes.

    Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ ("123456789" gives 0x31C3)
    """
    keyspace = Keyspace.of(Settings(shards=1024))

    assert keyspace.shards[0x31C3 % 1024] == keyspace.of_stream("123456789")


def test_what_is_counted_is_in_the_shard_of_its_owner() -> None:
    """
    A user's jobs are where the user is, and a topic's members, with the part of each, where the topic is: a script can
    touch both.
    """
    keyspace = Keyspace.of(Settings(shards=1024))
    for number in range(100):
        user, topic = f"u:{number}", f"room:{number}"
        assert keyspace.of_stream(user) is keyspace.of_stream(f"j:{user}")
        home = keyspace.of_stream(f"t:{topic}")
        assert {home} == {keyspace.of_stream(f"m:{topic}{part}") for part in ("", " ada", " a b", " m:x y")}


def test_a_group_keeps_everyone_once() -> None:
    """
    Grouping spreads streams over the shards and loses, doubles and misplaces none.
    """
    keyspace = Keyspace.of(Settings(shards=3))
    streams = [f"u:{number}" for number in range(300)]

    groups = keyspace.group(streams)

    assert set(keyspace.shards) == set(groups)
    assert sorted(streams) == sorted(stream for group in groups.values() for stream in group)
    assert [] == [one for keys, group in groups.items() for one in group if keyspace.of_stream(one) != keys]
