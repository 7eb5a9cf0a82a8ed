"""Sending to a user and asking who is online, from the command line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qrsocket.cli.address import named
from qrsocket.cli.failed import Failed, read_settings
from qrsocket.errors import InvalidJson, QRSocketError, Unavailable
from qrsocket.failures import explain
from qrsocket.message import Delivery, decode_json
from qrsocket.settings import Settings
from qrsocket.sync import socket
from qrsocket.users import user_ids


def send(recipient: str, message: str, *, is_topic: bool, as_text: bool) -> Delivery:
    """
    Send *message* to a user, or to a topic: what is JSON goes as a JSON document, unless *as_text*.

    Raises:
        Failed: It was not sent, or that is not known.
    """
    value = message if as_text else _json_or_text(message)
    with asking():
        return (socket.topic(recipient) if is_topic else socket.to(recipient)).send(value)


def online(users: Sequence[str]) -> list[str]:
    """
    Return those of *users* who are online, in their order; without *users* everyone, sorted.

    Raises:
        Failed: Redis did not say.
    """
    with asking():
        ids = user_ids(users)
        found = socket.online(ids or None)
    return [id for id in ids if id in found] if ids else sorted(found)


def print_online(console: Console, users: Sequence[str], found: Sequence[str]) -> None:
    """Show who was *found* online: a table for people; for programs, where no terminal is, one id a line."""
    if not console.is_terminal:
        for id in found:
            console.print(Text(id), soft_wrap=True)
        return
    table = Table("user", "")
    for id in users or found:
        table.add_row(Text(id), Text("online", "green") if id in found else Text("offline", "dim"))
    table.caption = f"{len(found)} online"
    console.print(table)


def _json_or_text(message: str) -> object:
    try:
        value = decode_json(message)
    except InvalidJson:
        return message
    # A JSON string is sent as it stands, with its quotes: as a str it would go without them, as text.
    return message if isinstance(value, str) else value


@contextmanager
def asking() -> Iterator[Settings]:
    """
    Give the settings of this process to a block that asks Redis.

    Raises:
        Failed: One of them is wrong, or Redis did not answer.
    """
    settings = read_settings()
    try:
        yield settings
    except Unavailable as error:
        raise Failed(f"{error}; Redis is {named(settings)}") from None
    except QRSocketError as error:
        raise Failed(str(error)) from None
    except RedisError as error:
        raise Failed(f"{'; '.join(explain(error))}; Redis is {named(settings)}") from None
