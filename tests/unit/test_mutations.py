"""What `make mutations` switches off is still there to be switched off."""

import subprocess
import sys

APPLY_ALL = "from tests.faults.mutations import MUTATIONS\nfor change in MUTATIONS.values(): change()"


def test_all_can_be_applied() -> None:
    """
    Each finds what it replaces. In a process of its own, which serves nobody any more after that.
    """
    done = subprocess.run([sys.executable, "-c", APPLY_ALL], capture_output=True, text=True)

    assert 0 == done.returncode, done.stderr
