"""The edges that a node is to tell: each held from when Redis hands it over until Redis knows that it was told."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from qrsocket.presence.table import UNKNOWN, Edge, Known
from qrsocket.streams import Stream

# Seconds. No answer of Redis comes so late, and a dump of it that is older is worth nothing here.
REMEMBERED = 60.0


@dataclass(slots=True)
class Memory:
    """
    What this node knows of a user's edges.

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
        held: Edges to tell, and those that are being told.
    """

    def __init__(self, on_edge: Callable[[Edge], None], *, grace: float, lease: float) -> None:
        """
        Args:
            on_edge: Gets each edge, to `begin` and `end` it; one that was told may come once more, and does not begin.
                Must not block.
            grace, lease: Seconds, as in the settings.
        """
        self.held: dict[Stream, Edge] = {}
        self._begun: set[Edge] = set()
        self._on_edge = on_edge
        self._remembered, self._undecided = REMEMBERED + grace, grace + lease
        self._memories: dict[Stream, Memory] = {}  # what was touched last is last

    def take(self, edge: Edge) -> None:
        """Have *edge* told, unless it is already: one answer of Redis may be repeated by another."""
        held = self.held.get(edge.stream)
        if held is not None and edge.seq <= held.seq:
            return
        self.learn(edge.stream, Known(edge.seq, edge.online))
        self.held[edge.stream] = edge
        self._on_edge(edge)

    def begin(self, edge: Edge) -> bool:
        """
        Return whether *edge* is to be told now. Not if another node has it by now, or if it was told, and only Redis
        was not reached to hear it.
        """
        is_wanted = self.held.get(edge.stream) is edge and edge.seq > self._memories[edge.stream].told
        if is_wanted:
            self._begun.add(edge)
        return is_wanted

    def told(self, edge: Edge) -> None:
        self.learn(edge.stream, Known(edge.seq, edge.online, edge.seq, edge.online))

    def end(self, edge: Edge) -> None:
        """Redis knows that *edge* was told, or has given it to another node."""
        self._begun.discard(edge)
        if self.held.get(edge.stream) is edge:
            del self.held[edge.stream]

    def drop(self, edge: Edge) -> None:
        """*edge* is another node's now. If it is being told here already, that goes on."""
        if edge not in self._begun:
            self.end(edge)

    def learn(self, stream: Stream, known: Known) -> None:
        """Remember what is known of the edges of *stream*: from Redis, it is what any node has said."""
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
        recently = time.monotonic() - self._undecided
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
        return memory.told > 0 and memory.told_at > time.monotonic() - REMEMBERED

    def forget(self, is_here: Callable[[Stream], object]) -> None:
        """Forget who was not heard of for a minute and has no connection here."""
        now = time.monotonic()
        for stream, memory in tuple(self._memories.items()):
            if memory.at > now - self._remembered:
                return
            if is_here(stream) or stream in self.held:
                self._touch(stream)
            else:
                del self._memories[stream]

    def _touch(self, stream: Stream) -> Memory:
        memory = self._memories.pop(stream, None) or Memory()
        memory.at = time.monotonic()
        self._memories[stream] = memory
        return memory
