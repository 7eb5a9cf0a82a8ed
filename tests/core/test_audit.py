"""When a node is taken for not being what Redis knows of it."""

from qrsocket.presence.audit import ROUNDS, Audit


def test_it_is_due_now_and_then() -> None:
    """
    Every tenth renewal.
    """
    audit, due = Audit(), list[int]()
    for number in range(1, 3 * ROUNDS):
        audit.next()
        if audit.is_due:
            due.append(number)

    assert [ROUNDS, 2 * ROUNDS] == due


def test_a_difference_counts_the_second_time() -> None:
    """
    Of one shard, with no look between that has found none; after it has counted, it begins anew.
    """
    audit = Audit()

    assert [False, False, False, True, False] == [audit.fails("s", 2, known) for known in (1, 2, 1, 1, 1)]
    assert [False, False] == [audit.fails(shard, 2, 1) for shard in ("one", "other")]
