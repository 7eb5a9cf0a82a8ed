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
    Joined,
    Left,
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

Seen: TypeAlias = Open | Ready | Joined | Message | Gap | Left | Closed

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
        invariant: "I1" to "I11" of connections, users and hooks, "I13" to "I18" of topics, requests and jobs: see
            `judge`. "I0" is a history that proves nothing.
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
    """
    A connection, from its client's side; or the time in which it has joined a topic. What did not happen was at
    infinity.

    Attributes:
        former: The session before it, which its client has told the server of; empty for none.
    """

    connecting: Connecting
    opened: float = inf
    closed: float = inf
    former: str = ""

    def is_open(self, at: float) -> bool:
        return self.opened <= at < self.closed


@dataclass(slots=True)
class Receiver:
    """
    Who must not miss anything of a stream: a v1 device over all its sessions, or one plain session.

    Attributes:
        stream: Its user, or a topic.
        sessions: Of a topic: the times in which it has joined.
        seen: What its sessions saw of the stream, in order.
    """

    name: str
    user: str
    is_v1: bool
    stream: str
    sessions: list[Session] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    @property
    def is_of_topic(self) -> bool:
        return self.stream != self.user

    @property
    def opened(self) -> float:
        return min((session.opened for session in self.sessions), default=inf)

    def is_open(self, at: float) -> bool:
        return any(session.is_open(at) for session in self.sessions)

    def reconnects(self) -> list[Ready | Joined]:
        """Return when it was back, after the first time: then it had something to recover."""
        return [event for event in self.seen if isinstance(event, Ready | Joined)][1:]


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
        self._of_session: dict[str, Receiver] = {}
        self._of_topic: dict[tuple[str, str], Receiver] = {}
        self.receivers = self._receivers(events)
        self.runs = self._runs(events)

    def of(self, kind: type[T]) -> list[T]:
        """Return the events of this kind, in order."""
        return self._of[kind]

    def time(self, at: float) -> str:
        return "never" if at == inf else f"{at - self.start:.3f} s"

    def acknowledged(self) -> dict[str, list[Sending]]:
        """Return what was acknowledged, and kept, of each user and topic, by the beginnings of the sends."""
        by_stream: defaultdict[str, list[Sending]] = defaultdict(list)
        for sending in sorted(self.sendings.values(), key=lambda sending: sending.begin):
            if sending.acknowledged < inf and sending.send.kept:
                for stream in dict.fromkeys(sending.send.to):
                    by_stream[stream].append(sending)
        return by_stream

    def is_left_out(self, receiver: Receiver, sending: Sending) -> bool:
        """Tell whether *receiver* is the device, or the plain session, that *sending* leaves out."""
        asking = self._of_session.get(sending.send.but)
        return asking is not None and (asking.name, asking.user) == (receiver.name, receiver.user)

    def has_data_loss(self, begin: float, end: float) -> bool:
        """Tell whether Redis lost data on purpose at some time between *begin* and *end*."""
        return any(loss.meets(begin, end) for loss in self.losses)

    def _receivers(self, events: Iterable[Event]) -> list[Receiver]:
        receivers: dict[tuple[str, ...], Receiver] = {}
        for session in self.sessions.values():
            connecting = session.connecting
            is_v1 = connecting.protocol == "v1"
            name = f"device {connecting.device}" if is_v1 else f"plain session {connecting.session}"
            receiver = receivers.setdefault(
                (name, connecting.user),
                Receiver(f"{name} of {connecting.user}", connecting.user, is_v1, connecting.user),
            )
            receiver.sessions.append(session)
            self._of_session[connecting.session] = receiver
        for event in events:
            if isinstance(event, Seen):
                self._see(event)
        return [*receivers.values(), *self._of_topic.values()]

    def _see(self, event: Seen) -> None:
        if event.session not in self._of_session:
            self.strays.append(event)
            return
        session, receiver = self.sessions[event.session], self._of_session[event.session]
        if isinstance(event, Joined | Left | Message | Gap) and event.topic:
            self._see_of_topic(event, receiver)
            return
        receiver.seen.append(event)
        if isinstance(event, Open | Ready):
            if session.opened == inf:
                opened = [one for one in receiver.sessions if one.opened < inf and one is not session]
                session.former = opened[-1].connecting.session if opened else ""
            session.opened = min(session.opened, event.at)
        elif isinstance(event, Closed):
            session.closed = min(session.closed, event.at)
            for (name, _), joined in self._of_topic.items():
                if name == receiver.name:
                    joined.seen.append(event)
                    _leave(joined, event)

    def _see_of_topic(self, event: Joined | Left | Message | Gap, device: Receiver) -> None:
        receiver = self._of_topic.setdefault(
            (device.name, event.topic),
            Receiver(device.name, device.user, device.is_v1, event.topic),
        )
        receiver.seen.append(event)
        if isinstance(event, Joined) and not receiver.is_open(event.at):
            receiver.sessions.append(Session(self.sessions[event.session].connecting, event.at))
        elif isinstance(event, Left):
            _leave(receiver, event)

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


def _leave(receiver: Receiver, event: Left | Closed) -> None:
    for joined in receiver.sessions:
        if joined.connecting.session == event.session:
            joined.closed = min(joined.closed, event.at)


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
