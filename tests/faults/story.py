"""A history by what it is about: messages, sessions, receivers, faults, runs of hooks. Judges nothing."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TypeAlias, TypeVar

from tests.faults.history import (
    Closed,
    Connecting,
    Event,
    Fault,
    Gap,
    Hook,
    Hooked,
    Message,
    Open,
    Presence,
    Quiet,
    Ready,
    Send,
    Sent,
    Unknown,
)

T = TypeVar("T")

Seen: TypeAlias = Open | Ready | Message | Gap | Closed

NODE_FAULTS = {"kill-node", "stop-node", "cut-node"}
DATA_LOSS = {"rollback-redis", "wipe-redis"}
REDIS_FAULTS = DATA_LOSS | {
    "kill-clients",
    "pause-redis",
    "restart-redis",
    "stop-redis",
    "down-redis",
    "full-redis",
    "cut-relay",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What the run was configured with, and so what may be asked of it. All in seconds."""

    lease: float
    tick: float
    grace: float
    hook_timeout: float
    handler_timeout: float


@dataclass(frozen=True, slots=True)
class Violation:
    """
    Attributes:
        invariant: "I1" to "I11" of STATE.md; "I0" is a history that proves nothing.
        text: Who, what and when, in seconds since the history began.
    """

    invariant: str
    text: str


@dataclass(frozen=True, slots=True)
class Sending:
    """
    A message, from its publisher's side.

    Attributes:
        acknowledged: It is in the streams from here on; infinity if nobody was told so.
        over: No attempt to send it is under way after this; infinity if its publisher did not live to say.
    """

    send: Send
    acknowledged: float
    over: float

    @property
    def id(self) -> str:
        return self.send.id

    @property
    def begin(self) -> float:
        """It is in no stream before this."""
        return self.send.at


@dataclass(slots=True)
class Session:
    """A connection, from its client's side. What did not happen was at infinity."""

    connecting: Connecting
    opened: float = inf
    closed: float = inf

    def is_open(self, at: float) -> bool:
        return self.opened <= at < self.closed


@dataclass(slots=True)
class Receiver:
    """
    Who must not miss anything: a v1 device over all its sessions, or one plain session.

    Attributes:
        seen: What its sessions saw, in order.
    """

    name: str
    user: str
    is_v1: bool
    sessions: list[Session] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    @property
    def opened(self) -> float:
        return min(session.opened for session in self.sessions)

    def reconnects(self) -> list[Ready]:
        """Return the ready events after the first: those that had something to recover."""
        return [event for event in self.seen if isinstance(event, Ready)][1:]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault that lasted."""

    name: str
    target: str
    begin: float
    end: float

    def meets(self, begin: float, end: float) -> bool:
        return self.begin <= end and begin <= self.end


@dataclass(slots=True)
class Run:
    """
    One run of a hook.

    Attributes:
        number: Of the transition that it tells of.
        end: Infinity if it did not end.
    """

    hook: Hook
    number: int
    end: float = inf

    @property
    def begin(self) -> float:
        return self.hook.at


class Story:
    """
    A history, indexed. What did not happen was at infinity.

    Attributes:
        quiet: Its time.
        losses: Those of the troubles in which Redis forgot something on purpose.
        end: What happens later is how the run was taken down.
        strays: Events of sessions and runs that never began.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self._of: defaultdict[type, list] = defaultdict(list)
        for event in events:
            self._of[type(event)].append(event)
        self.start = events[0].at if events else 0.0
        last = events[-1].at if events else 0.0
        self.quiet = min((quiet.at for quiet in self.of(Quiet)), default=inf)
        self.end = max((presence.at for presence in self.of(Presence)), default=min(self.quiet, last))
        self.strays: list[Event] = []
        self.troubles = _troubles(self.of(Fault), until=min(self.quiet, last))
        self.losses = [trouble for trouble in self.troubles if trouble.name in DATA_LOSS]
        self.sendings = _sendings(self.of(Send), self.of(Sent), self.of(Unknown))
        self.sessions = {connecting.session: Session(connecting) for connecting in self.of(Connecting)}
        self.receivers = self._receivers(events)
        self.runs = self._runs(events)

    def of(self, kind: type[T]) -> list[T]:
        """Return the events of this kind, in order."""
        return self._of[kind]

    def time(self, at: float) -> str:
        return "never" if at == inf else f"{at - self.start:.3f} s"

    def acknowledged(self) -> dict[str, list[Sending]]:
        """Return the acknowledged messages to each user, by the beginnings of their sends."""
        by_user: defaultdict[str, list[Sending]] = defaultdict(list)
        for sending in sorted(self.sendings.values(), key=lambda sending: sending.begin):
            if sending.acknowledged < inf:
                for user in dict.fromkeys(sending.send.to):
                    by_user[user].append(sending)
        return by_user

    def has_data_loss(self, begin: float, end: float) -> bool:
        """Tell whether Redis lost data on purpose at some time between *begin* and *end*."""
        return any(loss.meets(begin, end) for loss in self.losses)

    def _receivers(self, events: Iterable[Event]) -> list[Receiver]:
        receivers: dict[tuple[str, ...], Receiver] = {}
        of_session: dict[str, Receiver] = {}
        for session in self.sessions.values():
            connecting = session.connecting
            is_v1 = connecting.protocol == "v1"
            name = f"device {connecting.device}" if is_v1 else f"plain session {connecting.session}"
            receiver = receivers.setdefault(
                (name, connecting.user), Receiver(f"{name} of {connecting.user}", connecting.user, is_v1)
            )
            receiver.sessions.append(session)
            of_session[connecting.session] = receiver
        for event in events:
            if isinstance(event, Seen):
                self._see(event, of_session)
        return list(receivers.values())

    def _see(self, event: Seen, of_session: dict[str, Receiver]) -> None:
        if event.session not in of_session:
            self.strays.append(event)
            return
        session = self.sessions[event.session]
        of_session[event.session].seen.append(event)
        if isinstance(event, Open | Ready):
            session.opened = min(session.opened, event.at)
        elif isinstance(event, Closed):
            session.closed = min(session.closed, event.at)

    def _runs(self, events: Iterable[Event]) -> dict[str, list[Run]]:
        """Return the runs of each user, by their beginnings."""
        runs: defaultdict[str, list[Run]] = defaultdict(list)
        running: defaultdict[tuple[str, str, int], list[Run]] = defaultdict(list)
        for event in events:
            if not isinstance(event, Hook | Hooked):
                continue
            key = (event.node, event.event, event.attempt)
            if isinstance(event, Hook):
                run = Run(event, int(event.event.rpartition(":")[2]))
                runs[event.user].append(run)
                running[key].append(run)
            elif running[key]:
                running[key].pop(0).end = event.at
            else:
                self.strays.append(event)
        return runs


def _troubles(faults: Iterable[Fault], *, until: float) -> list[Trouble]:
    begun: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    troubles = []
    for fault in faults:
        begins = begun[fault.fault, fault.target]
        if fault.phase == "begin":
            begins.append(fault.at)
        elif begins:
            troubles.append(Trouble(fault.fault, fault.target, begins.pop(0), fault.at))
    for (name, target), begins in begun.items():
        troubles += [Trouble(name, target, begin, max(begin, until)) for begin in begins]
    return sorted(troubles, key=lambda trouble: trouble.begin)


def _sendings(sends: Iterable[Send], sents: Iterable[Sent], unknowns: Iterable[Unknown]) -> dict[str, Sending]:
    """Join what is known of each message. One whose job was redelivered was sent more than once, under one id."""
    ends: defaultdict[str, list[float]] = defaultdict(list)
    acknowledged: dict[str, float] = {}
    for sent in sents:
        acknowledged.setdefault(sent.id, sent.at)
        ends[sent.id].append(sent.at)
    for unknown in unknowns:
        ends[unknown.id].append(unknown.at)
    first: dict[str, Send] = {}
    attempts: defaultdict[str, int] = defaultdict(int)
    for send in sends:
        first.setdefault(send.id, send)
        attempts[send.id] += 1
    return {
        id: Sending(send, acknowledged.get(id, inf), max(ends[id]) if len(ends[id]) >= attempts[id] else inf)
        for id, send in first.items()
    }
