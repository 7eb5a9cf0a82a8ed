"""One run of faults, as `make faults` makes it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT

SECONDS = 30
# What it takes to start and to settle, on a busy machine.
PATIENCE = 120


@pytest.mark.timeout(SECONDS + PATIENCE + 10)
def test_half_a_minute_of_faults_violates_nothing(tmp_path: Path) -> None:
    """
    Four nodes, a worker, publishers and 55 clients live through some twenty faults: nothing is lost without a word,
    twice or out of order, hooks are exact, presence is true, and nothing is left over.
    """
    words = ["--seed", "1", "--seconds", str(SECONDS), "--keep", str(tmp_path / "histories")]

    # If this test is cut short, it kills the run, and with it goes all that it has started.
    run = subprocess.run(
        [sys.executable, "-m", "tests.faults", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS + PATIENCE,
        check=False,
    )

    assert 0 == run.returncode, run.stdout
