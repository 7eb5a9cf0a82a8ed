"""What publishing a task writes, and what it leaves as it was."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from celery import Celery, chain, chord, group, signals
from celery.app.task import Context as Request
from celery.canvas import Signature
from celery.exceptions import Ignore

from qrsocket.celery import install
from qrsocket.celery.user import HEADER, carried_by
from qrsocket.context import NOBODY, Context, current, running_for

ALICE = Context(user="alice")
CAROL: dict[str, Any] = {HEADER: {"user": "carol"}}
MINE: dict[str, Any] = {"mine": 1}
FOR_NOBODY: dict[str, Any] = {HEADER: None}

SIGNALS = (signals.before_task_publish, signals.task_prerun, signals.task_postrun)


app = Celery("unit", broker="memory://", backend="cache+memory://", set_as_current=False)
install(app)


@app.task(shared=False)
def look(*_: object) -> list[str | None]:
    return [current().user, current().connection]


@pytest.fixture(autouse=True)
def _no_messages() -> None:
    app.control.purge()


def published() -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the next message from the broker: its headers, and what it embeds."""
    with app.connection_for_read() as connection, connection.SimpleQueue(app.conf.task_default_queue) as queue:
        message = queue.get_nowait()
        message.ack()
        return message.headers, message.payload[2]


def signatures_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and "task" in value:
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from signatures_in(inner)


@pytest.mark.parametrize(
    ("context", "header"),
    [
        (ALICE, {"user": "alice"}),
        (Context(connection="c1"), {"connection": "c1"}),
        (Context(user="alice", connection="c1"), {"user": "alice", "connection": "c1"}),
    ],
    ids=["user", "connection", "both"],
)
def test_the_header_says_whom(context: Context, header: dict[str, str]) -> None:
    """
    A message carries the user who queued it, and the connection that it was queued from.
    """
    with running_for(context):
        look.delay()

    headers, _ = published()
    assert header == headers[HEADER]


def test_nobody_writes_no_header() -> None:
    """
    A task that nobody queued is published as it would be without us, with all that it embeds.
    """
    look.apply_async(link=look.s(), link_error=look.s())

    headers, embedded = published()
    assert HEADER not in headers
    assert HEADER not in json.dumps(embedded)


@pytest.mark.parametrize("context", [ALICE, NOBODY], ids=["alice", "nobody"])
def test_the_header_of_the_caller_wins(context: Context) -> None:
    """
    A header that the caller writes is left alone, and is for what is embedded, too. None is nobody.
    """
    with running_for(context):
        look.apply_async(headers=CAROL, link=look.s())
        look.apply_async(headers=FOR_NOBODY, link=look.s())

    headers, embedded = published()
    assert CAROL[HEADER] == headers[HEADER]
    assert [CAROL] == [signature["options"]["headers"] for signature in signatures_in(embedded)]
    headers, embedded = published()
    assert headers[HEADER] is None
    assert HEADER not in json.dumps(embedded)


def linked(signature: Signature, link: Signature) -> Signature:
    signature.link(link)
    return signature


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: linked(look.s(), look.s()), 1),
        (lambda: linked(look.s(), linked(look.s(), look.s())), 2),
        (lambda: linked(look.s(), chain(look.s(), look.s(), look.s())), 4),
        (lambda: linked(look.s(), group(look.s(), look.s())), 3),
        (lambda: linked(look.s(), chord([look.s(), look.s()], look.s())), 4),
        (lambda: look.s().on_error(linked(look.s(), look.s())), 2),
        (lambda: chain(look.s(), look.s(), look.s()), 2),
        (lambda: chain(look.s(), look.s().on_error(look.s())), 2),
        (lambda: chain(look.s(), group(look.s(), look.s()), look.s()), 5),
        (lambda: chord([look.s(), look.s()], linked(look.s(), look.s())), 2),
    ],
    ids=[
        "link",
        "link of link",
        "chain",
        "group",
        "chord",
        "errback",
        "steps",
        "errback of step",
        "group step",
        "body",
    ],
)
def test_all_that_is_embedded_is_marked(make: Callable[[], Signature], count: int) -> None:
    """
    Each signature within a message carries the user, however deep. Those of the caller do not.
    """
    signature = make()
    with running_for(ALICE):
        signature.apply_async()

    _, embedded = published()
    marks = [one["options"].get("headers") for one in signatures_in(embedded)]
    assert len(marks) >= count  # an older Celery repeats some of them
    assert [{HEADER: {"user": "alice"}}] * len(marks) == marks
    assert HEADER not in json.dumps(signature)


def test_a_signature_of_the_caller_stays_as_it_was() -> None:
    """
    A signature with headers of its own is embedded with these, and can be published again for somebody else.
    """
    link = look.s().set(headers=MINE)
    chosen = look.s().set(headers=CAROL)
    before = deepcopy([link, chosen])
    for user in ("alice", "bob"):
        with running_for(Context(user=user)):
            look.apply_async(link=[link, chosen])

        _, embedded = published()
        headers = [one["options"]["headers"] for one in signatures_in(embedded)]
        assert [{**MINE, HEADER: {"user": user}}, CAROL] == headers
    assert before == [link, chosen]


@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        (None, ["alice", "c1"]),
        ({"other": 1}, ["alice", "c1"]),
        (CAROL, ["carol", None]),
        ({HEADER: {"connection": "c2"}}, [None, "c2"]),
        (FOR_NOBODY, [None, None]),
        ({HEADER: "of somebody else"}, [None, None]),
    ],
)
def test_a_task_sees_its_header(headers: dict[str, Any] | None, seen: list[str | None]) -> None:
    """
    A task runs for whom its header names, without one for its caller, who is back when it is over.
    """
    context = Context(user="alice", connection="c1")
    with running_for(context):
        assert seen == look.apply(headers=headers).get()
        assert context is current()


def test_install_twice() -> None:
    """
    To install for a second application changes nothing: the signals are those of the process.
    """
    before = [list(signal.receivers) for signal in SIGNALS]
    install(Celery("other", set_as_current=False))

    assert before == [list(signal.receivers) for signal in SIGNALS]
    assert all(len(receivers) for receivers in before)


TRACED: dict[str, Any] = {"headers": {"x-trace": "1"}}


@pytest.mark.parametrize(
    "headers", [TRACED, {**TRACED, "x-trace": "1"}, {}, None, {"headers": None}, {"headers": "odd"}]
)
def test_headers_of_a_tracer(headers: dict[str, Any] | None) -> None:
    """
    Sentry and Datadog nest headers within headers: ours is found all the same, by the task and by what retries it.
    """
    with running_for(ALICE):
        look.apply_async(headers=headers)

    message, _ = published()
    request = Request(message)
    assert {"user": "alice"} == carried_by(vars(request)) == carried_by(message)
    if isinstance(message.get("headers"), dict):
        assert {"x-trace": "1", HEADER: {"user": "alice"}} == request.headers
    assert {"headers": {"x-trace": "1"}} == TRACED


def test_the_nested_header_of_the_caller_wins() -> None:
    """
    Where a caller names another user within nested headers, the task runs for that one.
    """
    with running_for(ALICE):
        look.apply_async(headers={"headers": CAROL})

    message, _ = published()
    assert CAROL[HEADER] == carried_by(message) == carried_by(vars(Request(message)))
    with running_for(ALICE):
        assert ["carol", None] == look.apply(headers={"headers": CAROL, **CAROL}).get()
        assert ["alice", None] == look.apply(headers=TRACED).get()


@pytest.fixture
def heard() -> Iterator[list[tuple[str, str | None]]]:
    """What receivers know of the user that are connected around `install`, and while a task runs."""
    known: list[tuple[str, str | None]] = []
    receivers: list[tuple[Any, Callable[..., Any]]] = []

    def connect(when: str) -> None:
        for signal in (*SIGNALS[1:], signals.task_success, signals.task_failure, signals.task_retry):

            def receive(signal: Any = signal, **_: Any) -> None:
                known.append((f"{signal.name} {when}", current().user))

            signal.connect(receive, weak=False, dispatch_uid=(when, signal.name))
            receivers.append((signal, (when, signal.name)))

    connect("after")
    EAGER.append(lambda: connect("in the task"))
    yield known
    EAGER.clear()
    for signal, uid in receivers:
        signal.disconnect(dispatch_uid=uid)


EAGER: list[Callable[[], None]] = []


@app.task(shared=False, bind=True)
def end(self: Any, how: str) -> None:
    if how == "ignore":
        raise Ignore
    for connect in EAGER:
        connect()
    if how == "failure":
        raise ValueError
    if how == "retry" and self.request.retries == 0:
        raise self.retry(countdown=0)


@pytest.mark.parametrize("how", ["success", "failure", "retry"])
@pytest.mark.parametrize("headers", [None, CAROL], ids=["caller's", "carol's"])
def test_all_receivers_know_the_user(heard: list[tuple[str, str | None]], how: str, headers: Any) -> None:
    """
    Whatever is told of a task's begin and end knows its user, whenever it was connected; the caller is back after it.
    """
    with running_for(ALICE):
        end.apply((how,), headers=headers)
        assert ALICE is current()

    user = "carol" if headers else "alice"
    assert {(f"task_{name} {when}", user) for name in ("postrun", how) for when in ("after", "in the task")} <= set(
        heard
    )
    assert {user} == {whom for _, whom in heard}


def test_receivers_of_a_task_that_is_ignored(heard: list[tuple[str, str | None]]) -> None:
    """
    So does whatever was connected before a task that neither succeeds nor fails.
    """
    end.apply(("ignore",), headers=CAROL)

    assert [("task_prerun after", "carol"), ("task_postrun after", "carol")] == heard
