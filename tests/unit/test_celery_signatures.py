"""What publishing a task writes, and what it leaves as it was."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from celery import Celery, chain, chord, group, signals
from celery.canvas import Signature

from qrsocket.celery import install
from qrsocket.celery.user import HEADER
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
        (Context(user="alice", connection="c1"), {"user": "alice"}),
    ],
    ids=["user", "connection", "both"],
)
def test_the_header_says_whom(context: Context, header: dict[str, str]) -> None:
    """
    A message carries the user who queued it; the connection only where there is no user.
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
    assert [{HEADER: {"user": "alice"}}] * count == marks
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
