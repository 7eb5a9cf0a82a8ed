"""What keeps the promises, switched off one at a time: a fault run must notice each. Nothing of it is shipped."""

import os
from collections.abc import Callable
from functools import cache

from qrsocket.message import Message
from qrsocket.position import Position
from qrsocket.presence.keeper import Keeper
from qrsocket.roundtrip import Script
from qrsocket.server.hub import Feed, Hub
from qrsocket.server.mender import Mender

VARIABLE = "FAULTS_MUTATION"


def apply() -> None:
    """Switch off what `FAULTS_MUTATION` names, in this process."""
    MUTATIONS[os.environ[VARIABLE]]()


def _without_resync() -> None:
    """A node that does not hear a message does not look for it."""

    following = Hub._next

    def take_as_it_comes(self: Hub, feed: Feed, position: Position, message: Message) -> None:
        if feed.position is not None and feed.position.epoch == position.epoch:
            feed.position = position._replace(offset=position.offset - 1)
        following(self, feed, position, message)

    Hub._next = take_as_it_comes  # type: ignore[method-assign]
    Mender.suspect = lambda self: None  # type: ignore[method-assign]


def _without_reaper() -> None:
    """Nobody empties a dead node."""

    async def leave_them(self: Keeper, keys: object) -> None: ...

    Keeper._reap = leave_them  # type: ignore[method-assign]


def _in_lua(*changes: tuple[str, str]) -> Callable[[], None]:
    def change() -> None:
        load = Script.load

        @cache
        def changed(package: str, name: str, *prelude: str, base: str = "") -> Script:
            source = load(package, name, *prelude, base=base).source
            for before, after in changes:
                source = source.replace(before, after)
            return Script(source)

        for before, _ in changes:
            assert any(before in load(*words).source for words in SCRIPTS), f"no script has {before!r}"
        Script.load = staticmethod(changed)  # type: ignore[method-assign]

    return change


SCRIPTS = (
    ("qrsocket.fanout", "publish", "epoch", "stream"),
    ("qrsocket.presence", "renew", "epoch"),
    ("qrsocket.presence", "reap", "epoch", "presence/transition"),
)

MUTATIONS: dict[str, Callable[[], None]] = {
    "resync": _without_resync,
    "reaper": _without_reaper,
    # Everybody's lease and grace count on while Redis is away.
    "amnesty": _in_lua(
        ("if beat and now - beat > lease_ms / 2 then", "if false then"),
        ("if now - (beat or now) > (lease_ms or 0) / 2 then return {0} end", ""),
    ),
    # A Redis that forgot who is there has that told at once.
    "settle-window": _in_lua(("if now < settle_until then", "if false then")),
    # A Redis that forgot the newest messages gives their offsets out again.
    "run-id": _in_lua(("if run_id ~= known then", "if not epoch then")),
    # What is sent again after a lost answer, or by a task that is run again, is sent twice.
    "message-id": _in_lua(("if seen then return", "if false then return")),
}

# The faults under which a mutation shows, where in a mixture of all it shows too seldom: those of one kind come faster.
SHOWN_BY: dict[str, tuple[str, ...]] = {"settle-window": ("wipe-redis",)}
