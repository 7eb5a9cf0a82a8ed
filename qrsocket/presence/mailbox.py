"""The transitions that a node is to tell: each held from when Redis hands it over until Redis knows it was told."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from qrsocket.presence.answers import UNKNOWN, Known, Transition
from qrsocket.streams import Stream

# Seconds. No answer of Redis comes so late, and a dump of it that is older is worth nothing here.
REMEMBERED = 60.0


@dataclass(slots=True)
class Memory:
    """
    What this node knows of a user's transitions.

    Attributes:
        seq, online: Number and kind of the last one that was decided.
        told, told_online: Of the last one that was told, here or as Redis said.
        told_at, at: When that was or was heard, and when anything was, on the clock of this process.
    """

    seq: int = 0
    online: bool = False
    told: int = 0
    told_online: bool = False
    told_at: float = 0.0
    at: float = 0.0


class Mailbox:
    """
    Attributes:
        held: Transitions to tell, and those that are being told.
    """

    def __init__(
        self,
        on_transition: Callable[[Transition], None],
        *,
        grace: float,
        lease: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            on_transition: Gets each transition, to `begin` and `end` it; one that was told may come once more, and does
                not begin. Must not block.
            grace, lease: Seconds, as in the settings.
            clock: Tells the seconds since some moment.
        """
        self.held: dict[Stream, Transition] = {}
        self._begun: set[Transition] = set()
        self._on_transition, self._clock = on_transition, clock
        self._remembered, self._undecided = REMEMBERED + grace, grace + lease
        self._memories: dict[Stream, Memory] = {}  # what was touched last is last

    def take(self, transition: Transition) -> None:
        """Have *transition* told, unless it is already: one answer of Redis may be repeated by another."""
        held = self.held.get(transition.stream)
        if held is not None and transition.seq <= held.seq:
            return
        self.learn(transition.stream, Known(transition.seq, transition.online))
        self.held[transition.stream] = transition
        self._on_transition(transition)

    def begin(self, transition: Transition) -> bool:
        """
        Return whether *transition* is to be told now. Not if another node has it by now, or if it was told, and only
        Redis was not reached to hear it.
        """
        is_wanted = (
            self.held.get(transition.stream) is transition and transition.seq > self._memories[transition.stream].told
        )
        if is_wanted:
            self._begun.add(transition)
        return is_wanted

    def told(self, transition: Transition) -> None:
        self.learn(transition.stream, Known(transition.seq, transition.online, transition.seq, transition.online))

    def end(self, transition: Transition) -> None:
        """Redis knows that *transition* was told, or has given it to another node."""
        self._begun.discard(transition)
        if self.held.get(transition.stream) is transition:
            del self.held[transition.stream]

    def drop(self, transition: Transition) -> None:
        """*transition* is another node's now. If it is being told here already, that goes on."""
        if transition not in self._begun:
            self.end(transition)

    def learn(self, stream: Stream, known: Known) -> None:
        """Remember what is known of the transitions of *stream*: from Redis, it is what any node has said."""
        memory = self._touch(stream)
        if known.seq > memory.seq:
            memory.seq, memory.online = known.seq, known.online
        if known.told > memory.told:
            memory.told, memory.told_online, memory.told_at = known.told, known.told_online, memory.at

    def known(self, stream: Stream) -> Known:
        memory = self._memories.get(stream)
        if memory is None:
            return UNKNOWN
        if not self._is_fresh(memory):
            return Known(memory.seq, memory.online)
        return Known(memory.seq, memory.online, memory.told, memory.told_online)

    def of_the_gone(self) -> set[Stream]:
        """
        Return of whom this node knows something that Redis must not forget, though they have no connection here: what
        they were told, that they went, or that they left a moment ago and it was to be seen whether they come back.
        """
        recently = self._clock() - self._undecided
        return {
            stream
            for stream, memory in self._memories.items()
            if self._is_fresh(memory) or not memory.online or memory.at > recently
        }

    def _is_fresh(self, memory: Memory) -> bool:
        """
        Whether what this node knows as told may have been the last. If another node has told something since, that one
        remembers it for longer than this one.
        """
        return memory.told > 0 and memory.told_at > self._clock() - REMEMBERED

    def forget(self, is_here: Callable[[Stream], object]) -> None:
        """Forget who was not heard of for a minute and has no connection here."""
        now = self._clock()
        for stream, memory in tuple(self._memories.items()):
            if memory.at > now - self._remembered:
                return
            if is_here(stream) or stream in self.held:
                self._touch(stream)
            else:
                del self._memories[stream]

    def _touch(self, stream: Stream) -> Memory:
        memory = self._memories.pop(stream, None) or Memory()
        memory.at = self._clock()
        self._memories[stream] = memory
        return memory
