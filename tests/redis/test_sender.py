"""The verbs on a real Redis, awaited and blocking: where messages go, what comes back, and what is refused."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
import redis as redis_py

import qrsocket
from qrsocket import (
    CloseCode,
    InvalidTopic,
    InvalidUserId,
    MessageTooLarge,
    NoConnection,
    NoRecipient,
    NotSerializable,
    TooManyRecipients,
    User,
    authenticated,
    sync,
)
from qrsocket.context import Context, TaskRun, running_for
from qrsocket.fanout.publish import Envelope
from qrsocket.keys import Keyspace
from qrsocket.message import Close, Kind, Options
from qrsocket.settings import get_settings
from tests.clients import PATIENCE
from tests.conftest import Configure
from tests.redis.conftest import Act, NewNode, Node, no_command_reaches


@dataclass
class Row:
    id: UUID


def streams(envelope: Envelope) -> tuple[str, ...]:
    return tuple(stream for stream, _ in envelope.recipients)


async def test_send_goes_to_the_current_user(act: Act, node: Node, second_node: Node) -> None:
    """
    `send` reaches the current user on all devices, wherever they are connected.
    """
    node.attach("alice", 2)
    node.attach("bob")
    second_node.attach("alice")

    with running_for(Context(user="alice", connection="c1")):
        delivery = await act(lambda socket: socket.send({"n": 1}))

    assert delivery
    assert (3, 2) == (delivery.connections, delivery.nodes)
    for envelopes in (node.envelopes(), second_node.envelopes()):
        assert [(delivery.message_id, ("u:alice",), b'{"n":1}')] == [
            (envelope.message_id, streams(envelope), envelope.message.payload) for envelope in envelopes
        ]


async def test_send_goes_to_the_connection_where_there_is_no_user(act: Act, node: Node) -> None:
    """
    In a handler of a connection without a user, `send` answers that connection.
    """
    node.attach_stream("c:c1")

    with running_for(Context(connection="c1")):
        delivery = await act(lambda socket: socket.send("hi"))

    assert (1, 1) == (delivery.connections, delivery.nodes)
    assert [("c:c1",)] == [streams(envelope) for envelope in node.envelopes()]


async def test_to_names_anyone(act: Act, node: Node) -> None:
    """
    `to` takes an id or many, of any type that names a user; each is sent to once, also where there is a current user.
    """
    uuid = UUID(int=7)
    for user in ("alice", "42", uuid, "carol", "current"):
        node.attach(user)

    with running_for(Context(user="current")):
        one = await act(lambda socket: socket.to("alice").send("to one"))
        number = await act(lambda socket: socket.to(42).send("to a number"))
        many = await act(lambda socket: socket.to(["alice", User("carol"), Row(uuid), "alice"]).send("to many"))
        lazy = await act(lambda socket: socket.to(name for name in ("alice", "carol")).send("to a generator"))

    assert [1, 1, 3, 2] == [delivery.connections for delivery in (one, number, many, lazy)]
    assert [
        (b"to one", ("u:alice",)),
        (b"to a number", ("u:42",)),
        (b"to many", ("u:alice", "u:carol", f"u:{uuid}")),
        (b"to a generator", ("u:alice", "u:carol")),
    ] == [(envelope.message.payload, streams(envelope)) for envelope in node.envelopes()]


async def test_nobody_online_is_falsy(act: Act, node: Node) -> None:
    """
    A message to a user who is offline is no error: its Delivery is falsy, and has an id.
    """
    delivery = await act(lambda socket: socket.to("nobody").send("hi"))

    assert not delivery
    assert (0, 0) == (delivery.connections, delivery.nodes)
    assert delivery.message_id


async def test_the_type_of_the_message_is_kept(act: Act, node: Node) -> None:
    """
    Text arrives as text, bytes as binary, anything else as JSON: a text that looks like JSON stays one.
    """
    node.attach("alice")
    messages: list[Any] = ["👋", '{"a":[1]}', b"\x00\xff", {"a": [1]}, None]
    for message in messages:
        await act(lambda socket, message=message: socket.to("alice").send(message))  # type: ignore[misc]

    assert [
        (Kind.TEXT, "👋".encode()),
        (Kind.TEXT, b'{"a":[1]}'),
        (Kind.BINARY, b"\x00\xff"),
        (Kind.JSON, b'{"a":[1]}'),
        (Kind.JSON, b"null"),
    ] == [(envelope.message.kind, envelope.message.payload) for envelope in node.envelopes()]


async def test_a_message_is_encoded_when_it_is_given(act: Act, node: Node) -> None:
    """
    What a caller changes after the call is not in the message.
    """
    node.attach("alice")
    message = {"n": 1}

    def send_then_change(socket: Any) -> Any:
        pending = socket.to("alice").send(message)
        message["n"] = 2
        return pending

    await act(send_then_change)

    assert [b'{"n":1}'] == node.messages()


async def test_messages_keep_their_order(act: Act, node: Node) -> None:
    """
    One sender's messages arrive in the order they were sent, each under its own id.
    """
    node.attach("alice")
    deliveries = [
        await act(lambda socket, n=n: socket.to("alice").send(n))  # type: ignore[misc]
        for n in range(50)
    ]

    assert [str(n).encode() for n in range(50)] == node.messages()
    assert 50 == len({delivery.message_id for delivery in deliveries})


async def test_many_senders_at_once_each_get_their_own_answer(act: Act, node: Node) -> None:
    """
    Concurrent sends share connections, and none gets the answer of another.
    """
    for number in range(1, 31):
        node.attach(number, number)

    deliveries = await asyncio.gather(
        *(act(lambda socket, n=n: socket.to(n).send(n)) for n in range(1, 31))  # type: ignore[misc]
    )

    assert list(range(1, 31)) == [delivery.connections for delivery in deliveries]
    assert 30 == len({delivery.message_id for delivery in deliveries})


async def test_is_online_and_online(act: Act, node: Node, second_node: Node) -> None:
    """
    `is_online` answers for one, `online` for those asked or for everyone; connections without a user are nobody.
    """
    node.attach("alice")
    second_node.attach("42")
    node.attach_stream("c:c1")

    assert await act(lambda socket: socket.is_online("alice")) is True
    assert await act(lambda socket: socket.is_online(42)) is True
    assert await act(lambda socket: socket.is_online(User("nobody"))) is False
    assert {"alice", "42"} == await act(lambda socket: socket.online(["nobody", "alice", 42]))
    assert {"alice", "42"} == await act(lambda socket: socket.online())
    assert set() == await act(lambda socket: socket.online([]))


async def test_online_ends_with_the_last_connection(act: Act, node: Node) -> None:
    """
    A user who has gone is not online, also while the grace for `on_offline` runs.
    """
    node.attach("alice")
    node.attach("alice", 0)

    assert await act(lambda socket: socket.is_online("alice")) is False


async def test_close_of_a_user(act: Act, node: Node, second_node: Node) -> None:
    """
    `to(user).close` orders every node of the user to close all of the user's connections.
    """
    node.attach("alice")
    second_node.attach("alice", 2)

    delivery = await act(lambda socket: socket.to("alice").close(CloseCode.REVOKED, "bye"))

    assert (3, 2) == (delivery.connections, delivery.nodes)
    for envelopes in (node.envelopes(), second_node.envelopes()):
        assert [(Kind.CLOSE, ("u:alice",), Close(4101, "bye"))] == [
            (envelope.message.kind, streams(envelope), Close.from_payload(envelope.message.payload))
            for envelope in envelopes
        ]


async def test_revoke(act: Act, node: Node, second_node: Node, redis: redis_py.Redis) -> None:
    """
    `to(users).revoke` has Redis remember it, and orders every node to close their connections.
    """
    node.attach("alice")
    second_node.attach("bob", 2)

    delivery = await act(lambda socket: socket.to(["alice", "bob"]).revoke(for_seconds=60, reason="bye"))

    assert (3, 2) == (delivery.connections, delivery.nodes)
    for stream, its_node in (("u:alice", node), ("u:bob", second_node)):
        assert [(stream,)] == [streams(envelope) for envelope in its_node.envelopes()]
        assert 0 < redis.pttl(node.keys.revoked(stream)) <= 60_000


async def test_revoke_remembers_first(act: Act, node: Node, redis: redis_py.Redis) -> None:
    """
    Redis remembers it before the order to close is given: whoever comes in between is refused, and does not miss both.
    """
    node.attach("alice")
    with redis.monitor() as monitor:
        await act(lambda socket: socket.to("alice").revoke())
        seen = [monitor.next_command()["command"]]
        while not seen[-1].startswith("PUBLISH"):
            seen.append(monitor.next_command()["command"])

    assert 1 == len([command for command in seen if command.startswith(f"SET {node.keys.revoked('u:alice')} ")]), seen


@pytest.mark.parametrize(
    ("context", "stream"),
    [
        (Context(user="alice", connection="c1"), "c:c1"),
        (Context(connection="c1"), "c:c1"),
        (Context(user="alice"), "u:alice"),
    ],
    ids=["handler", "handler without a user", "schedule"],
)
async def test_close_of_the_current_connection(act: Act, node: Node, context: Context, stream: str) -> None:
    """
    `close` closes the current connection only; where there is none, all connections of the current user.
    """
    for one in ("u:alice", "c:c1"):
        node.attach_stream(one)

    with running_for(context):
        await act(lambda socket: socket.close(4000, "why"))

    assert [(Kind.CLOSE, (stream,), Close(4000, "why"))] == [
        (envelope.message.kind, streams(envelope), Close.from_payload(envelope.message.payload))
        for envelope in node.envelopes()
    ]


REFUSED = [
    pytest.param(lambda socket: socket.send("hi"), NoRecipient, id="nobody to send to"),
    pytest.param(lambda socket: socket.close(), NoRecipient, id="nothing to close"),
    pytest.param(lambda socket: socket.to([]).send("hi"), NoRecipient, id="no ids"),
    pytest.param(lambda socket: socket.to(iter(())).close(), NoRecipient, id="empty generator"),
    pytest.param(lambda socket: socket.to(range(10_001)).send("hi"), TooManyRecipients, id="10 001 ids"),
    pytest.param(lambda socket: socket.online(range(10_001)), TooManyRecipients, id="10 001 questions"),
    pytest.param(lambda socket: socket.to("a").send(object()), NotSerializable, id="an object"),
    pytest.param(lambda socket: socket.to("a").send({"n": float("nan")}), NotSerializable, id="NaN"),
    pytest.param(lambda socket: socket.to("a").send("\ud800"), NotSerializable, id="half a surrogate pair"),
    pytest.param(lambda socket: socket.to("a").send("x" * (256 * 1024 + 1)), MessageTooLarge, id="too large"),
    pytest.param(lambda socket: socket.to("a").send(b"x" * (256 * 1024 + 1)), MessageTooLarge, id="too large, binary"),
    pytest.param(lambda socket: socket.to("").send("hi"), InvalidUserId, id="empty id"),
    pytest.param(lambda socket: socket.to(None).send("hi"), InvalidUserId, id="None"),
    pytest.param(lambda socket: socket.to(["a", True]).send("hi"), InvalidUserId, id="a bool among ids"),
    pytest.param(lambda socket: socket.is_online("a\nb"), InvalidUserId, id="control character"),
    *(
        pytest.param(
            lambda socket, id=id: socket.to("a").send("hi", message_id=id), ValueError, id=f"message id: {why}"
        )
        for id, why in [
            ("", "empty"),
            ("x" * 201, "201 bytes"),
            ("ü" * 101, "202 bytes"),
            ("a\tb", "tab"),
            ("a\n", "line end"),
            ("\x7f", "delete"),
            ("\ud800", "half a surrogate pair"),
            (7, "number"),
            (b"m1", "bytes"),
        ]
    ),
    *(
        pytest.param(lambda socket, wait=wait: socket.to("a").send("hi", wait=wait), ValueError, id=f"wait {wait}")
        for wait in (0, -1.0, float("nan"), float("inf"))
    ),
    *(
        pytest.param(
            lambda socket, name=name: socket.topic("room").send("hi", latest=name), ValueError, id=f"latest: {why}"
        )
        for name, why in [("", "empty"), ("x" * 101, "101 characters"), ("a\n", "line"), ("\ud800", "surrogate")]
    ),
    *(
        pytest.param(lambda socket, name=name: socket.topic(name), InvalidTopic, id=f"topic: {why}")
        for name, why in [("", "empty"), ("*", "everyone"), ("x" * 201, "201"), ("a b", "space"), (7, "number")]
    ),
    pytest.param(lambda socket: socket.to("a").join("a b"), InvalidTopic, id="to join no topic"),
    pytest.param(lambda socket: socket.to("a").leave("*"), InvalidTopic, id="to leave everyone"),
    pytest.param(lambda socket: socket.join(""), InvalidTopic, id="join no topic"),
    pytest.param(lambda socket: socket.leave("-x"), InvalidTopic, id="leave no topic"),
    pytest.param(lambda socket: socket.join("room"), NoConnection, id="nothing to join with"),
    pytest.param(lambda socket: socket.leave("room"), NoConnection, id="nothing to leave with"),
    pytest.param(lambda socket: socket.reply("hi"), NoConnection, id="nobody to reply to"),
    pytest.param(lambda socket: socket.others.send("hi"), NoRecipient, id="nobody's others"),
    pytest.param(lambda socket: socket.everyone.send(object()), NotSerializable, id="an object, to everyone"),
    pytest.param(
        lambda socket: socket.topic("room").others.send("x" * (256 * 1024 + 1)), MessageTooLarge, id="too large, others"
    ),
    pytest.param(lambda socket: socket.to("a").close(1001), ValueError, id="close code of browsers"),
    pytest.param(lambda socket: socket.to("a").close(1000, "x" * 124), ValueError, id="long reason"),
]


@pytest.mark.parametrize(("use", "error"), REFUSED)
async def test_a_refusal_comes_before_anything_is_sent(
    act: Act, node: Node, redis: redis_py.Redis, use: Any, error: type[Exception]
) -> None:
    """
    What cannot be sent raises, and Redis has not been asked for anything.
    """
    await act(lambda socket: socket.to("a").send("opens the pool"))
    with no_command_reaches(redis), pytest.raises(error):
        await act(use)


@pytest.mark.parametrize(
    ("use", "error"),
    [case for case in REFUSED if case.id not in {"10 001 questions", "control character"}],
)
async def test_an_async_refusal_does_not_wait_for_await(act: Act, use: Any, error: type[Exception]) -> None:
    """
    A bad message, recipient or code raises where it is written, not where it is awaited: the traceback shows it.
    """
    with pytest.raises(error):
        use(qrsocket.socket)


async def test_a_message_of_the_limit_passes(act: Act, node: Node, configure: Configure) -> None:
    """
    The limit is a setting, and a message of exactly its size is sent.
    """
    configure(max_message_out_bytes=10)
    node.attach("alice")

    await act(lambda socket: socket.to("alice").send("x" * 10))

    with pytest.raises(MessageTooLarge, match="11 bytes is over the limit of 10"):
        await act(lambda socket: socket.to("alice").send("x" * 11))
    assert [b"x" * 10] == node.messages()


async def test_10_000_recipients_in_one_send(act: Act, node: Node, configure: Configure) -> None:
    """
    10 000 users are one Delivery, sent in calls of 1 000 so that no other command waits long.
    """
    configure(redis_timeout=PATIENCE)
    for number in range(9_990, 10_010):
        node.attach(number)

    delivery = await act(lambda socket: socket.to(range(10_000)).send("hi"))
    online = await act(lambda socket: socket.online(range(10_000)))

    assert (10, 1) == (delivery.connections, delivery.nodes)
    assert {str(number) for number in range(9_990, 10_000)} == online
    assert [tuple(f"u:{number}" for number in range(9_990, 10_000))] == [
        streams(envelope) for envelope in node.envelopes()
    ]


async def test_each_batch_of_a_large_send_arrives(act: Act, node: Node) -> None:
    """
    No batch is taken for a repetition of the one before it.
    """
    for number in range(0, 2_500, 250):
        node.attach(number)

    delivery = await act(lambda socket: socket.to(range(2_500)).send("hi"))
    envelopes = node.envelopes()

    assert (10, 1) == (delivery.connections, delivery.nodes)
    assert [4, 4, 2] == [len(streams(envelope)) for envelope in envelopes]
    assert 3 == len({envelope.message_id for envelope in envelopes})


async def test_three_shards(act: Act, configure: Configure, new_node: NewNode) -> None:
    """
    With three shards each user is found, each message arrives once, and all keys of a user are in one slot.
    """
    configure(shards=3)
    nodes = [new_node("n1", shard=shard) for shard in range(3)]
    keyspace = Keyspace.of(get_settings())
    users = [f"user-{number}" for number in range(30)]
    for user in users:
        nodes[keyspace.shards.index(keyspace.of_stream(f"u:{user}"))].attach(user)

    delivery = await act(lambda socket: socket.to([*users, "nobody"]).send("hi"))
    online = await act(lambda socket: socket.online())
    asked = await act(lambda socket: socket.online([*users, "nobody"]))
    received = [stream for node in nodes for envelope in node.envelopes() for stream in streams(envelope)]

    assert (30, 1) == (delivery.connections, delivery.nodes)
    assert set(users) == online == asked
    assert sorted(f"u:{user}" for user in users) == sorted(received)
    assert {keyspace.of_stream(f"u:{user}") for user in users} == set(keyspace.shards)


async def test_nodes_are_counted_over_shards(act: Act, configure: Configure, new_node: NewNode) -> None:
    """
    A send to two users who are on two nodes, and in two shards, reaches two nodes.
    """
    configure(shards=3)
    keyspace = Keyspace.of(get_settings())
    first, other = next(
        (0, number) for number in range(1, 100) if keyspace.of_stream(f"u:{number}") != keyspace.of_stream("u:0")
    )
    for name, user in (("n1", first), ("n2", other)):
        new_node(name, shard=keyspace.shards.index(keyspace.of_stream(f"u:{user}"))).attach(user)

    delivery = await act(lambda socket: socket.to([first, other]).send("hi"))

    assert (2, 2) == (delivery.connections, delivery.nodes)


async def test_authenticated_is_whom_send_means(act: Act, node: Node) -> None:
    """
    After `await authenticated(user)` in a request, `send` knows the user, blocking code in a thread included.
    """
    node.attach("42")
    with running_for(Context()):
        await authenticated(42)
        delivery = await act(lambda socket: socket.send("hi"))

    assert (1, [b"hi"]) == (delivery.connections, node.messages())


@pytest.mark.parametrize(
    ("verb", "use"),
    [
        ("send", lambda socket: socket.to("a").send("hi")),
        ("close", lambda socket: socket.to("a").close()),
        ("is_online", lambda socket: socket.is_online("a")),
        ("online", lambda socket: socket.online(["a"])),
        ("send", lambda socket: socket.topic("room").send("hi")),
        ("send", lambda socket: socket.topic("room").others.send("hi")),
        ("send", lambda socket: socket.everyone.send("hi")),
        ("members", lambda socket: socket.topic("room").members()),
        ("count", lambda socket: socket.topic("room").count()),
        ("join", lambda socket: socket.to("a").join("room")),
        ("leave", lambda socket: socket.to("a").leave("room")),
    ],
)
async def test_the_wrong_colour_says_what_to_write(verb: str, use: Any, node: Node, redis: redis_py.Redis) -> None:
    """
    Blocking on an event loop, and async verbs without one, raise a RuntimeError that names the other import.
    """
    with no_command_reaches(redis):
        with pytest.raises(RuntimeError, match=rf"socket\.{verb}\(\).*would block.*await socket\.{verb}\(\.\.\.\)"):
            use(sync.socket)
        with pytest.raises(RuntimeError, match=rf"socket\.{verb}\(\).*from qrsocket\.sync import socket"):
            await asyncio.to_thread(use, qrsocket.socket)


async def test_an_eager_task_may_block(node: Node) -> None:
    """
    A Celery task that runs eagerly inside `async def` code uses the blocking verbs as it would in a worker.
    """
    node.attach("alice")

    with running_for(Context(user="alice", may_block=True)):
        delivery = sync.socket.send("hi")

    assert (1, [b"hi"]) == (delivery.connections, node.messages())


NAMES = ["m1", "x" * 200, "ü" * 100, "order 7: shipped?", "=m1", "a:1", "7f.1"]


@pytest.mark.parametrize("id", NAMES, ids=lambda id: id[:20])
async def test_a_message_with_an_id_is_sent_once(act: Act, node: Node, id: str) -> None:
    """
    The same id again returns the same Delivery, `repeated`, under the id as it was given, and nothing is sent.
    """
    node.attach("alice", 2)
    first = await act(lambda socket: socket.to("alice").send("hi", message_id=id))
    node.attach("alice", 3)
    with running_for(Context(user="alice")):
        again = await act(lambda socket: socket.send("hi, said otherwise", message_id=id))

    assert (id, 2, 1, False) == (first.message_id, first.connections, first.nodes, first.repeated)
    assert replace(first, repeated=True) == again
    assert [b"hi"] == node.messages()


async def test_an_id_is_known_to_both_colours(node: Node) -> None:
    """
    What async code has sent is not sent again by blocking code.
    """
    node.attach("alice")
    first = await qrsocket.socket.to("alice").send("hi", message_id="m1")
    again = await asyncio.to_thread(sync.socket.to("alice").send, "hi", message_id="m1")

    assert replace(first, repeated=True) == again
    assert [b"hi"] == node.messages()


async def test_an_id_is_for_its_recipients(act: Act, node: Node) -> None:
    """
    The same id for someone else is another message, which is not lost; the order of the recipients does not matter.
    """
    for user in ("alice", "bob", "carol"):
        node.attach(user)
    named: list[Any] = ["alice", "bob", ["alice", "carol"], ["carol", "alice"], "alice"]
    for users in named:
        await act(lambda socket, users=users: socket.to(users).send("hi", message_id="m1"))  # type: ignore[misc]

    assert [("u:alice",), ("u:bob",), ("u:alice", "u:carol")] == [streams(envelope) for envelope in node.envelopes()]


async def test_an_id_never_meets_another(act: Act, node: Node) -> None:
    """
    An id that looks like one of ours, of a task's or of a batch is none.
    """
    users = [str(number) for number in range(1_001)]
    run = TaskRun("task", 300)
    node.attach("1")
    with running_for(Context(task_run=run)):
        of_task = await act(lambda socket: socket.to(users).send("hi"))
    ours = await act(lambda socket: socket.to(users).send("hi"))
    envelopes = node.envelopes()
    looking_alike = [
        of_task.message_id,
        ours.message_id,
        *(envelope.message_id for envelope in envelopes),
        "m1",
        "m1.1",
    ]
    node.attach_stream("u:999")  # in the last batch of all
    sent = [
        await act(lambda socket, id=id: socket.to(users).send("hi", message_id=id))  # type: ignore[misc]
        for id in sorted(set(looking_alike))
    ]
    named = [envelope.message_id for envelope in node.envelopes()]
    again = [
        await act(lambda socket, id=id: socket.to(users).send("hi", message_id=id))  # type: ignore[misc]
        for id in (*named, *(f"{id}.1" for id in named))
    ]

    assert [1, 1] == [of_task.connections, ours.connections]
    assert {2} == {delivery.connections for delivery in (*sent, *again)}


async def test_many_recipients_under_one_id(act: Act, node: Node) -> None:
    """
    2 500 users named in any order, as a set is in another process, are each sent to once under one id.
    """
    users = [str(number) for number in range(2_500)]
    for user in users[::250]:
        node.attach(user)

    first = await act(lambda socket: socket.to(users).send("hi", message_id="m1"))
    again = await act(lambda socket: socket.to(reversed(users)).send("hi", message_id="m1"))
    sent_to = sorted(stream for envelope in node.envelopes() for stream in streams(envelope))

    assert (10, replace(first, repeated=True)) == (first.connections, again)
    assert sorted(f"u:{user}" for user in users[::250]) == sent_to


def task_run(id: str = "4f1c", remember: float = 3_900.0) -> Context:
    return Context(user="alice", task_run=TaskRun(id, remember))


@pytest.mark.parametrize("id", ["4f1c", "import 7\n", "ü" * 300, "=m1"], ids=["uuid", "with a line end", "long", "odd"])
async def test_a_task_that_is_run_again_repeats_nothing(act: Act, node: Node, id: str) -> None:
    """
    What a run has sent, the next run of the same task does not send again; it gets the same Delivery. The order of the
    recipients does not matter.
    """
    node.attach("alice")
    node.attach("bob")

    async def run(*users: str) -> list[Any]:
        with running_for(task_run(id)):
            return [
                await act(lambda socket: socket.send("one")),
                await act(lambda socket: socket.send("one")),
                await act(lambda socket: socket.to(users).send({"two": 2})),
                await act(lambda socket: socket.close()),
            ]

    first, second = await run("bob", "alice"), await run("alice", "bob")

    assert [replace(delivery, repeated=True) for delivery in first] == second
    assert [False] * 4 == [delivery.repeated for delivery in first]
    assert 4 == len({delivery.message_id for delivery in first})
    assert [b"one", b"one", b'{"two":2}', Close(4101, "").to_message().payload] == node.messages()


async def test_a_task_that_takes_another_path_loses_nothing(act: Act, node: Node) -> None:
    """
    The n-th message of a run is sent when that of the run before was another, in text, in kind, in recipients or in who
    of them is to get it.
    """
    node.attach("alice")
    node.attach("bob")

    async def run(use: Any) -> Any:
        with running_for(task_run()):
            return await act(use)

    for use in (
        lambda socket: socket.send("1"),
        lambda socket: socket.send("2"),
        lambda socket: socket.send(b"2"),
        lambda socket: socket.to("bob").send("1"),
        lambda socket: socket.send("1"),
        lambda socket: socket.send("1", latest="a"),
        lambda socket: socket.send("1", latest="b"),
        lambda socket: socket.send("1", latest="a"),
    ):
        await run(use)

    assert [("t", b"1"), ("t", b"2"), ("b", b"2"), ("t", b"1"), ("t", b"1"), ("t", b"1")] == [
        (envelope.message.kind, envelope.message.payload) for envelope in node.envelopes()
    ]


async def test_another_task_sends_the_same(act: Act, node: Node) -> None:
    """
    Two tasks, and code outside of tasks, send the same to the same user, and each arrives.
    """
    node.attach("alice")
    for context in (task_run("1"), task_run("2"), Context(user="alice"), Context(user="alice")):
        with running_for(context):
            await act(lambda socket: socket.send("hi"))

    assert [b"hi"] * 4 == node.messages()


async def test_a_message_id_takes_no_number_of_a_task(act: Act, node: Node) -> None:
    """
    In a task an id that is given counts, also when the task is run again, and the other messages are numbered
    without it.
    """
    node.attach("alice")
    for names in (["m1", None], [None, "m1"]):
        with running_for(task_run()):
            for id in names:
                await act(lambda socket, id=id: socket.send("hi", message_id=id))  # type: ignore[misc]

    assert [b"hi"] * 2 == node.messages()


async def test_messages_of_a_task_are_numbered_as_they_are_written(node: Node) -> None:
    """
    Awaited in another order, or all at once, the messages of a run are the same.
    """
    node.attach("alice")
    with running_for(task_run()):
        first, second = qrsocket.socket.send("1"), qrsocket.socket.send("2")
        await second
        await first
    with running_for(task_run()):
        await asyncio.gather(*(qrsocket.socket.send(text) for text in ("1", "2", "3")))

    assert [b"2", b"1", b"3"] == node.messages()


@pytest.mark.parametrize(
    ("context", "seconds"), [(Context(user="alice"), 300), (task_run(), 3_900), (task_run(remember=10), 300)]
)
@pytest.mark.parametrize("id", [None, "m1"])
async def test_how_long_an_id_is_known(
    act: Act, node: Node, redis: redis_py.Redis, context: Context, seconds: int, id: str | None
) -> None:
    """
    For 300 s, and in a task for as long as it may be run again.
    """
    with running_for(context):
        await act(lambda socket: socket.send("hi", message_id=id))
    (key,) = redis.keys(node.keys.sent("*"))

    assert seconds - 10 < redis.ttl(key) <= seconds


# Topics, everyone and others.


async def test_a_topic_reaches_who_has_joined(act: Act, node: Node, second_node: Node) -> None:
    """
    A message to a topic is one envelope for each node that has it, counted in the topic's own stream.
    """
    node.attach_all(["t:room:7", "*"], here=3)
    second_node.attach_all(["*"])

    delivery = await act(lambda socket: socket.topic("room:7").send({"n": 1}))

    [envelope] = node.envelopes()
    assert (3, 1) == (delivery.connections, delivery.nodes)
    assert (Kind.JSON, b'{"n":1}', ("t:room:7",)) == (
        envelope.message.kind,
        envelope.message.payload,
        streams(envelope),
    )
    assert envelope.recipients[0][1] is not None
    assert [] == second_node.envelopes()


async def test_everyone_is_one_frame_a_node(act: Act, node: Node, second_node: Node, redis: redis_py.Redis) -> None:
    """
    A message to everyone is not kept, unless that is asked for.
    """
    node.attach_all(["*"], here=3)
    second_node.attach_all(["*"], here=2)

    unkept = await act(lambda socket: socket.everyone.send("hi"))
    were_kept = redis.xlen(node.keys.history("*"))
    kept = await act(lambda socket: socket.everyone.send("hi", keep=True))

    assert [(5, 2)] * 2 == [(one.connections, one.nodes) for one in (unkept, kept)]
    assert (0, 1) == (were_kept, redis.xlen(node.keys.history("*")))
    for envelopes in (node.envelopes(), second_node.envelopes()):
        assert [("*", True), ("*", False)] == [
            (stream, offset is None) for envelope in envelopes for stream, offset in envelope.recipients
        ]


@pytest.mark.parametrize(
    ("how", "is_kept", "latest"),
    [({}, True, ""), ({"keep": False}, False, ""), ({"latest": "typing:ada"}, False, "typing:ada")],
    ids=["as usual", "keep=False", "latest"],
)
async def test_what_is_kept(
    act: Act, node: Node, redis: redis_py.Redis, how: dict[str, Any], is_kept: bool, latest: str
) -> None:
    """
    `keep=False` and `latest` are for who is connected now: neither kept nor counted; nodes are told the name.
    """
    for stream in ("u:alice", "t:room:7"):
        node.attach_stream(stream)
    await act(lambda socket: socket.to("alice").send("hi", **how))
    await act(lambda socket: socket.topic("room:7").send("hi", **how))
    envelopes = node.envelopes()

    assert [is_kept] * 2 == [offset is not None for envelope in envelopes for _, offset in envelope.recipients]
    assert [Options(latest)] * 2 == [envelope.message.options for envelope in envelopes]
    assert [int(is_kept)] * 2 == [redis.xlen(node.keys.history(stream)) for stream in ("u:alice", "t:room:7")]


@pytest.mark.parametrize(
    ("context", "options"),
    [
        (Context(user="alice", connection="c1"), Options(but="c1", user="alice")),
        (Context(user="alice"), Options()),
        (Context(connection="c1"), Options(but="c1")),
        (Context(), Options()),
    ],
    ids=["connection of a user", "user", "connection without a user", "nobody"],
)
async def test_others_leave_the_current_connection_out(
    act: Act, node: Node, context: Context, options: Options
) -> None:
    """
    Nodes are told which connection of which user does not get it; where there is no current one, all do.
    """
    for stream in ("u:alice", "t:room:7"):
        node.attach_stream(stream)
    with running_for(context):
        await act(lambda socket: socket.topic("room:7").others.send("hi"))
        if context.user is not None:
            await act(lambda socket: socket.others.send("hi"))
    envelopes = node.envelopes()

    assert {options} == {envelope.message.options for envelope in envelopes}
    assert [("t:room:7",), ("u:alice",)][: len(envelopes)] == [streams(envelope) for envelope in envelopes]
    assert (2 if context.user else 1) == len(envelopes)


async def test_a_reply_is_for_the_connection_alone(act: Act, node: Node, redis: redis_py.Redis) -> None:
    """
    Where the connection's handler does not run here, a reply goes to the connection's stream, is not kept, and is for
    it only as long as it is the same user's.
    """
    node.attach_all(["u:alice", "c:c1"])
    for context in (Context(user="alice", connection="c1"), Context(connection="c1")):
        with running_for(context):
            assert await act(lambda socket: socket.reply("hi")) is None
    envelopes = node.envelopes()

    assert [(("c:c1", None),)] * 2 == [envelope.recipients for envelope in envelopes]
    assert [Options(user="alice"), Options()] == [envelope.message.options for envelope in envelopes]
    assert not redis.exists(node.keys.history("c:c1"))


async def test_joining_and_leaving_are_orders(act: Act, node: Node) -> None:
    """
    The current connection, or all of users, are ordered to join a topic or to leave it; nodes that do not hear an order
    read it later, since it is kept.
    """
    node.attach_all(["u:alice", "c:c1"])
    with running_for(Context(user="alice", connection="c1")):
        await act(lambda socket: socket.join("room:7"))
        await act(lambda socket: socket.leave("room:7"))
    to_join = await act(lambda socket: socket.to("alice").join("room:8"))
    await act(lambda socket: socket.to("alice").leave("room:8"))
    envelopes = node.envelopes()

    assert [
        (Kind.JOIN, b"room:7", ("c:c1",)),
        (Kind.LEAVE, b"room:7", ("c:c1",)),
        (Kind.JOIN, b"room:8", ("u:alice",)),
        (Kind.LEAVE, b"room:8", ("u:alice",)),
    ] == [(envelope.message.kind, envelope.message.payload, streams(envelope)) for envelope in envelopes]
    assert [True] * 4 == [offset is not None for envelope in envelopes for _, offset in envelope.recipients]
    assert (1, 1) == (to_join.connections, to_join.nodes)


async def test_who_has_joined_and_how_many(act: Act, node: Node, second_node: Node) -> None:
    """
    `members` are users, each once, and `count` is of connections; a topic that nobody has joined has none.
    """
    node.attach_all(["t:room:7"], here=3)
    node.attach_all(["m:room:7 ada", "m:room:7 a b"])
    second_node.attach_all(["t:room:7", "m:room:7 ada", "t:room:8"], here=2)

    assert {"ada", "a b"} == await act(lambda socket: socket.topic("room:7").members())
    assert 5 == await act(lambda socket: socket.topic("room:7").count())
    assert set() == await act(lambda socket: socket.topic("room:8").members())
    assert (2, 0) == (
        await act(lambda socket: socket.topic("room:8").count()),
        await act(lambda socket: socket.topic("nobody").count()),
    )


async def test_topics_of_three_shards(act: Act, configure: Configure, new_node: NewNode) -> None:
    """
    Each topic is sent to, counted and listed in its own shard, whichever that is.
    """
    configure(shards=3)
    nodes = [new_node("n1", shard=shard) for shard in range(3)]
    keyspace, topics = Keyspace.of(get_settings()), [f"room:{number}" for number in range(12)]
    homes = [nodes[keyspace.shards.index(keyspace.of_stream(f"t:{topic}"))] for topic in topics]
    for topic, home in zip(topics, homes, strict=True):
        home.attach_all([f"t:{topic}", f"m:{topic} ada"])

    for topic, home in zip(topics, homes, strict=True):
        home.envelopes()
        delivery = await act(lambda socket, topic=topic: socket.topic(topic).send("hi"))  # type: ignore[misc]
        assert 1 == delivery.connections
        assert [(f"t:{topic}",)] == [streams(envelope) for envelope in home.envelopes()]
        assert {"ada"} == await act(lambda socket, topic=topic: socket.topic(topic).members())  # type: ignore[misc]
        assert 1 == await act(lambda socket, topic=topic: socket.topic(topic).count())  # type: ignore[misc]
    assert set(nodes) == set(homes)


async def test_a_topics_message_with_an_id_is_sent_once(act: Act, node: Node) -> None:
    """
    Ids work for topics and for everyone as for users, whether it is kept or not; the same id elsewhere is another one.
    """
    node.attach_all(["t:room:7", "*"])
    uses = [
        lambda socket: socket.topic("room:7").send("1", message_id="m1"),
        lambda socket: socket.topic("room:7").send("2", message_id="m2", keep=False),
        lambda socket: socket.everyone.send("3", message_id="m1"),
    ]
    first, again = [await act(use) for use in uses], [await act(use) for use in uses]

    assert [replace(delivery, repeated=True) for delivery in first] == again
    assert [b"1", b"2", b"3"] == node.messages()
