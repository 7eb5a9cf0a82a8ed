"""What the user sees of an import that is done."""

from dataclasses import asdict

from qrsocket.celery.watched import MOST_IN_A_RESULT
from qrsocket.message import encode
from worker.rows import COLUMNS, Rejected, read_rows
from worker.tasks import MOST_SHOWN, Imported


def test_most_rejected() -> None:
    """
    However many rows are rejected, and for however many reasons, the result is small enough to be shown.
    """
    rows = [",".join(COLUMNS), *["x,,x,x" for _ in range(2 * MOST_SHOWN)]]
    imported = Imported()

    imported.add(read_rows(rows))

    assert f"0 stored, {2 * MOST_SHOWN} rejected" == str(imported)
    assert MOST_SHOWN == len(imported.rows)
    assert [len(COLUMNS)] == sorted({len(row.reasons) for row in imported.rows})
    encode(asdict(imported), limit_bytes=MOST_IN_A_RESULT)


def test_counts() -> None:
    """
    Counts are told in words, and rejected rows only if there are any.
    """
    imported = Imported()
    assert "0 stored" == str(imported)

    imported.add([Rejected(2, ["no"])])
    imported.stored = 12_345

    assert "12,345 stored, 1 rejected" == str(imported)
