"""In which batches a node lets its clients go."""

import pytest

from qrsocket.server.draining import INTERVAL, next_batch


def sizes(count: int, seconds: float) -> list[int]:
    """Return how many go in each batch, if the clock is on time."""
    waiting, found = list(range(count)), []
    while waiting:
        batch = next_batch(waiting, seconds - len(found) * INTERVAL)
        found.append(len(batch))
        waiting = waiting[len(batch) :]
    return found


@pytest.mark.parametrize("count", [1, 7, 40, 41, 999, 2_000, 10_000])
@pytest.mark.parametrize("seconds", [INTERVAL, 1, 10])
def test_all_go_in_time_and_evenly(count: int, seconds: float) -> None:
    """
    All go within the seconds, in batches whose sizes differ by one at most.
    """
    found = sizes(count, seconds)

    assert count == sum(found)
    assert len(found) <= seconds / INTERVAL
    assert max(found) - min(found) <= 1


def test_few_take_less() -> None:
    """
    A node with fewer clients than there are batches does not wait for the rest of the time.
    """
    assert [1, 1, 1] == sizes(3, 10)


@pytest.mark.parametrize("seconds", [0, -3])
def test_without_time_all_go_at_once(seconds: float) -> None:
    """
    With no time, or when it is over, nobody is left for another batch.
    """
    assert [500] == sizes(500, seconds)


def test_who_comes_meanwhile_goes_in_time() -> None:
    """
    Clients that come half-way go within the same time: the batches grow.
    """
    first = next_batch(range(400), 10)
    later = next_batch(range(400), 5)

    assert (10, 20) == (len(first), len(later))
