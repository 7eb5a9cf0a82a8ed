"""
Histories of fault runs in words, an event at a time: `10 send m1; 12 get b1 m1 offset=1`.

A word is a time in seconds, then what happens, then whom or what it happens to; options come last. The letter of a
session is its device, and a device's user begins with it: `b2` is the second session of bob's device.
"""

from collections.abc import Callable, Iterator
from itertools import chain

from tests.faults.history import (
    Answer,
    Asked,
    Change,
    Closed,
    Connecting,
    Event,
    Fault,
    Gap,
    Hook,
    Hooked,
    Job,
    Joined,
    Leak,
    Left,
    Leftovers,
    Members,
    Message,
    Open,
    Presence,
    Quiet,
    Ready,
    Replied,
    Request,
    Send,
    Sent,
    Unknown,
    Watched,
)

USERS = {"a": "alice", "b": "bob", "c": "carol"}

# Alice's part: it proves something, and breaks nothing.
ENOUGH = """
    0 v1 a1; 0.6 hook n1 alice:1 online
    0.2 join a1 room:9; 0.3 asks a1 q0; 0.4 replies a1 q0; 0.5 job a1 j0 started seq=1
    1 fault kill-clients redis until=1.1
    5 close a1; 6 v1 a2 offset=100; 6.1 join a2 room:9 recovered=yes
    100 quiet; 101 leftovers
"""
ENOUGH_MESSAGES = 100


def history(text: str) -> list[Event]:
    """Return what *text* tells, and alice's part. Presence is as the hooks told it, unless *text* has it."""
    teller = Teller()
    events = teller.tell(ENOUGH)
    for n in range(1, ENOUGH_MESSAGES + 1):
        events += teller.tell(f"{2 + n / 100} send a-{n} to=alice sender=s; {2.5 + n / 100} get a1 a-{n} offset={n}")
    events += teller.tell(text)
    if not any(isinstance(event, Presence) for event in events):
        online = ",".join(user for user, run in teller.last_runs.items() if run[2] == "online")
        events += teller.tell(f"101 presence online={online} truth={online}")
    return sorted(events, key=lambda event: event.at)


class Teller:
    """A method a word. What follows from what was told before, the payload of a received message, say, it knows."""

    def __init__(self) -> None:
        self.sends: dict[str, Send] = {}
        self.last_runs: dict[str, tuple[int, int, str]] = {}

    def tell(self, text: str) -> list[Event]:
        lines = (line.split() for line in text.replace(";", "\n").splitlines())
        return list(chain.from_iterable(self._line(words) for words in lines if words))

    def _line(self, words: list[str]) -> Iterator[Event]:
        at, verb, *names = (word for word in words if "=" not in word)
        options = dict(word.split("=") for word in words if "=" in word)
        tell: Callable[..., Iterator[Event]] = getattr(self, verb)
        return tell(float(at), *names, **options)

    def send(
        self,
        at: float,
        id: str,
        outcome: str = "sent",
        *,
        to: str = "bob",
        sender: str = "p",
        until: str = "",
        kept: str = "yes",
        but: str = "",
    ) -> Iterator[Event]:
        """A message with its *outcome*: sent, unknown or silence. A sender's numbers grow with time."""
        send = Send(at, sender, int(at * 1000), id, tuple(to.split(",")), kept == "yes", but)
        self.sends.setdefault(id, send)
        end = float(until or at + 0.1)
        yield send
        if outcome != "silence":
            yield Sent(end, id, 1) if outcome == "sent" else Unknown(end, id, "timeout")

    def get(self, at: float, session: str, id: str, *, offset: str = "", topic: str = "") -> Iterator[Event]:
        """A message comes, of the *topic* that it was sent to if there is one; of none if that is `own`."""
        sent = self.sends.get(id, Send(at, "nobody", 1, id, (USERS[session[0]],), True, ""))
        topic = {"": next((name for name in sent.to if ":" in name), ""), "own": ""}.get(topic, topic)
        yield Message(at, session, id, sent.sender, sent.n, sent.to, int(offset) if offset else None, topic)

    def v1(
        self,
        at: float,
        session: str,
        *,
        node: str = "n1",
        epoch: str = "e",
        offset: str = "0",
        recovered: str = "yes",
        user: str = "",
        since: str = "",
    ) -> Iterator[Event]:
        """A session that is ready 0.1 s later. It belongs to *user*, if the server says so. *since* is as `e.7`."""
        yield Connecting(at, session, session[0], USERS[session[0]], "v1", node, _position(since))
        yield Ready(at + 0.1, session, epoch, int(offset), recovered == "yes", user or USERS[session[0]])

    def plain(self, at: float, session: str, *, node: str = "n1") -> Iterator[Event]:
        """A session that is open 0.1 s later."""
        yield Connecting(at, session, session[0], USERS[session[0]], "plain", node, None)
        yield Open(at + 0.1, session)

    def gap(self, at: float, session: str, *, epoch: str = "e", offset: str = "0", topic: str = "") -> Iterator[Event]:
        yield Gap(at, session, epoch, int(offset), topic)

    def join(
        self,
        at: float,
        session: str,
        topic: str,
        *,
        epoch: str = "e",
        offset: str = "0",
        recovered: str = "no",
        since: str = "",
        members: str = "untold",
    ) -> Iterator[Event]:
        """A client is told that it has joined; *since* is as `e.7`."""
        told = None if members == "untold" else _names(members)
        yield Joined(at, session, topic, epoch, int(offset), recovered == "yes", _position(since), told)

    def leave(self, at: float, session: str, topic: str) -> Iterator[Event]:
        yield Left(at, session, topic, "asked")

    def change(self, at: float, session: str, topic: str, *, joined: str = "", left: str = "") -> Iterator[Event]:
        yield Change(at, session, topic, _names(joined), _names(left))

    def members(self, at: float, topic: str, *, users: str, count: str) -> Iterator[Event]:
        yield Members(at, topic, _names(users), int(count))

    def close(self, at: float, session: str) -> Iterator[Event]:
        yield Closed(at, session, 1006)

    def ask(self, at: float, session: str, request: str) -> Iterator[Event]:
        yield Request(at, session, request)

    def answer(self, at: float, session: str, request: str) -> Iterator[Event]:
        yield Answer(at, session, request)

    def asks(self, at: float, session: str, request: str, *, fails: str = "no") -> Iterator[Event]:
        """A client asks what is to be answered once."""
        yield Asked(at, session, request, fails == "yes")

    def replies(self, at: float, session: str, request: str, *, outcome: str = "answer") -> Iterator[Event]:
        yield Replied(at, session, request, outcome)

    def job(self, at: float, session: str, job: str, state: str, *, seq: str, listed: str = "no") -> Iterator[Event]:
        yield Job(at, session, job, int(seq), state, listed == "yes")

    def watched(self, at: float, user: str, job: str, state: str, *, seq: str) -> Iterator[Event]:
        yield Watched(at, user, job, int(seq), state)

    def hook(
        self, at: float, node: str, event: str, kind: str, *, attempt: str = "1", until: str = ""
    ) -> Iterator[Event]:
        """A run of 0.1 s, or *until* some time, or never."""
        user, _, number = event.partition(":")
        run = (int(number), int(attempt), kind)
        self.last_runs[user] = max(run, self.last_runs.get(user, run))
        yield Hook(at, node, user, event, kind, int(attempt))
        if until != "never":
            yield Hooked(float(until or at + 0.1), node, user, event, kind, int(attempt))

    def hooked(self, at: float, node: str, event: str, kind: str) -> Iterator[Event]:
        """The end of a run that did not begin."""
        yield Hooked(at, node, event.partition(":")[0], event, kind, 1)

    def fault(self, at: float, name: str, target: str, *, until: str = "") -> Iterator[Event]:
        """A fault that ends only if it says when."""
        yield Fault(at, name, target, "begin")
        if until:
            yield Fault(float(until), name, target, "end")

    def quiet(self, at: float) -> Iterator[Event]:
        yield Quiet(at)

    def presence(self, at: float, *, online: str, truth: str) -> Iterator[Event]:
        yield Presence(at, tuple(online.split(",")), tuple(truth.split(",")))

    def leftovers(self, at: float, *what: str) -> Iterator[Event]:
        yield Leftovers(at, what)

    def leak(self, at: float, *what: str) -> Iterator[Event]:
        yield Leak(at, " ".join(what))


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _position(text: str) -> tuple[str, int] | None:
    epoch, _, offset = text.partition(".")
    return (epoch, int(offset)) if text else None
