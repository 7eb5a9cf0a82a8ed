"""The names of streams, and what each is of."""

import pytest

from qrsocket.streams import (
    EVERYONE,
    home_of,
    of_connection,
    of_jobs,
    of_member,
    of_members,
    of_topic,
    of_user,
    topic_of,
    user_of,
)

ODD = ["alice", "*", "u:alice", "t:room", "m:room ada", "j:u:x", "a b", "c:"]


@pytest.mark.parametrize("id", ODD)
def test_no_id_is_taken_for_another_kind(id: str) -> None:
    """
    Whatever the id, a user's stream is a user's, a topic's a topic's, and a connection's neither.
    """
    assert (id, None) == (user_of(of_user(id)), topic_of(of_user(id)))
    assert (None, None) == (user_of(of_connection(id)), topic_of(of_connection(id)))
    assert (None, id) == (user_of(of_topic(id)), topic_of(of_topic(id)))
    counted = (of_jobs(of_user(id)), of_members(id), of_member(id, "ada"))
    assert [(None, None)] * 3 == [(user_of(stream), topic_of(stream)) for stream in counted]


def test_everyones_stream_is_a_topics() -> None:
    """
    A client is told of it as of the topic `*`.
    """
    assert "*" == EVERYONE == of_topic("*") == topic_of(EVERYONE)


@pytest.mark.parametrize("stream", ["u:alice", "c:c1", "t:room:7", "*", "u:m:room ada", "t:j:u:x", "u:j:x"])
def test_a_stream_is_at_home_in_its_own_shard(stream: str) -> None:
    """
    What is sent to users, connections and topics is where their names say.
    """
    assert stream == home_of(stream)


def test_what_is_counted_is_where_its_owner_is() -> None:
    """
    Jobs are in the shard of whose they are, members and each one's part in that of the topic.
    """
    assert "u:alice" == home_of(of_jobs("u:alice"))
    assert "c:c1" == home_of(of_jobs("c:c1"))
    assert "t:room:7" == home_of(of_members("room:7"))
    assert "t:room:7" == home_of(of_member("room:7", "a b c"))
    assert "t:room:7" == home_of(of_member("room:7", "m:room:8 ada"))
