"""What keeps the promises, switched off one at a time: a fault run must notice each. Nothing of it is shipped."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache

from qrsocket.fanout.publish import Envelope
from qrsocket.message import NO_OPTIONS
from qrsocket.position import Entry, Position
from qrsocket.presence.keeper import Keeper
from qrsocket.presence.registry import Registration
from qrsocket.roundtrip import Script
from qrsocket.server.catch_up import CatchUp
from qrsocket.server.connection import Connection
from qrsocket.server.exchange import Exchange
from qrsocket.server.hub import Hub
from qrsocket.server.subscription import Subscription
from qrsocket.server.subscriptions import Subscriptions
from qrsocket.streams import Stream, topic_of

VARIABLE = "FAULTS_MUTATION"


def apply() -> None:
    """Switch off what `FAULTS_MUTATION` names, in this process."""
    MUTATIONS[os.environ[VARIABLE]]()


def _without_resync() -> None:
    """A node that does not hear a message does not look for it."""

    deliver = Hub.deliver

    def take_as_it_comes(self: Hub, envelope: Envelope) -> None:
        for stream, offset in envelope.recipients:
            feed = self._feeds.get(stream)
            if feed is not None and offset is not None and feed.epoch == envelope.epoch:
                feed.offset = offset - 1
        deliver(self, envelope)

    Hub.deliver = take_as_it_comes  # type: ignore[method-assign]
    CatchUp.suspect = lambda self: None  # type: ignore[method-assign]


def _without_reaper() -> None:
    """Nobody empties a dead node."""

    async def leave_them(self: Keeper, keys: object) -> None: ...

    Keeper._reap = leave_them  # type: ignore[method-assign]


def _without_topics_compared() -> None:
    """A node that suspects that it has missed something does not look at topics."""
    counted = Hub.counted

    def without_topics(self: Hub) -> tuple[Stream, ...]:
        return tuple(stream for stream in counted.__get__(self) if topic_of(stream) is None)

    Hub.counted = property(without_topics)  # type: ignore[method-assign, assignment]


def _without_tops_of_topics() -> None:
    """A node that is told how far a topic is does not look for what it has not heard."""
    hearing = Hub.heard

    def heard(self: Hub, stream: Stream, position: Position) -> None:
        if topic_of(stream) is None:
            hearing(self, stream, position)

    Hub.heard = heard  # type: ignore[method-assign]


def _without_rereading(prefix: str) -> Callable[[], None]:
    """A node that has missed a change of a state, of jobs or members, does not read it."""

    def change() -> None:
        rereading = CatchUp.reread

        async def reread(self: CatchUp, stream: Stream) -> None:
            if not stream.startswith(prefix):
                await rereading(self, stream)

        CatchUp.reread = reread  # type: ignore[method-assign]

    return change


def _without_positions_of_topics() -> None:
    """Who comes back to a topic begins with what is sent from then on."""
    registering = Subscriptions._register

    async def register(
        self: Subscriptions, streams: Iterable[Stream], since: Mapping[Stream, Position]
    ) -> Registration | None:
        places = {stream: position for stream, position in since.items() if topic_of(stream) is None}
        return await registering(self, streams, places)

    Subscriptions._register = register  # type: ignore[method-assign]


def _without_gaps_of_topics() -> None:
    """Nobody is told that messages of a topic are missing."""
    telling = Connection.tell_gap

    def tell_gap(self: Connection, stream: Stream, position: Position) -> bool:
        return topic_of(stream) is not None or telling(self, stream, position)

    Connection.tell_gap = tell_gap  # type: ignore[method-assign]


def _without_leaving() -> None:
    """Who leaves a topic is told so, and goes on to get its messages."""

    async def leave(self: Subscriptions, topic: str, why: str, request: str | None = None) -> None:
        self._connection.tell("left", topic=topic, why=why, request=request)

    Subscriptions.leave = leave  # type: ignore[method-assign]


def _without_others_in_recovery() -> None:
    """Whom a message leaves out, is forgotten with those who read it from the stream."""
    offering = Connection.offer_entry

    def offer_entry(self: Connection, subscription: Subscription, entry: Entry) -> None:
        offering(self, subscription, entry._replace(message=replace(entry.message, options=NO_OPTIONS)))

    Connection.offer_entry = offer_entry  # type: ignore[method-assign]


def _without_failures() -> None:
    """A request whose handler fails is not answered."""
    Exchange.failed = lambda self, text, request, *, is_temporary: None  # type: ignore[method-assign]


def _in_lua(*changes: tuple[str, str]) -> Callable[[], None]:
    def change() -> None:
        load = Script.load

        @cache
        def changed(name: str, *, base: str = "") -> Script:
            source = load(name, base=base).source
            for before, after in changes:
                source = source.replace(before, after)
            return Script(source)

        for before, _ in changes:
            assert any(before in load(name).source for name in SCRIPTS), f"no script has {before!r}"
        Script.load = staticmethod(changed)  # type: ignore[method-assign]

    return change


SCRIPTS = ("fanout/publish", "presence/renew", "presence/reap")

MUTATIONS: dict[str, Callable[[], None]] = {
    "resync": _without_resync,
    "reaper": _without_reaper,
    # Everybody's lease and grace count on while Redis is away.
    "amnesty": _in_lua(
        ("if beat and now - beat > lease_ms / 2 then", "if false then"),
        ("if now - (beat or now) > (lease_ms or 0) / 2 then return {0} end", ""),
    ),
    # A Redis that forgot who is there has that told at once.
    "quiet-window": _in_lua(("if now < quiet_until and", "if false and")),
    # A Redis that forgot the newest messages gives their offsets out again.
    "run-id": _in_lua(("if run_id ~= known then", "if not epoch then")),
    # What is sent again after a lost answer, or by a task that is run again, is sent twice.
    "message-id": _in_lua(("if seen then", "if false then")),
    "topics-compared": _without_topics_compared,
    "topic-tops": _without_tops_of_topics,
    "topic-positions": _without_positions_of_topics,
    "topic-gaps": _without_gaps_of_topics,
    "leaving": _without_leaving,
    "members-reread": _without_rereading("m:"),
    # Nobody is told that the grace of a member is over, or a dead node's members are gone.
    "members-left": _in_lua(("tell_members()\nreturn reply", "return reply")),
    "others": _without_others_in_recovery,
    "failures": _without_failures,
    "jobs-reread": _without_rereading("j:"),
}

# The faults under which a mutation shows, where in a mixture of all it shows too seldom: those of one kind come faster.
SHOWN_BY: dict[str, tuple[str, ...]] = {
    "quiet-window": ("wipe-redis",),
    # Other faults have clients come back, which then ask for all anew.
    "topics-compared": ("cut-node",),
    "topic-tops": ("cut-node",),
    "jobs-reread": ("cut-node",),
    # Hardly anything else that keeps an answer back.
    "failures": ("deaf-client", "kill-worker"),
}
