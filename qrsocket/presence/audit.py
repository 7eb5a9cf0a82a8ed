"""A look, now and then, whether Redis has of a node what there is."""

from collections.abc import Hashable

ROUNDS = 10


class Audit:
    def __init__(self) -> None:
        self._rounds = 0
        self._odd: set[Hashable] = set()  # shards that had other streams of the node at the last audit

    def next(self) -> None:
        """Another renewal begins."""
        self._rounds += 1

    @property
    def is_due(self) -> bool:
        return self._rounds % ROUNDS == 0

    def fails(self, shard: Hashable, here: int, known: int) -> bool:
        """
        Return whether the streams that are *here* were others than those that Redis knows of, twice in a row: once,
        somebody may be on the way.
        """
        if here == known:
            self._odd.discard(shard)
        elif shard not in self._odd:
            self._odd.add(shard)
        else:
            self._odd.clear()
            return True
        return False
