"""The venv of the other libraries, made when it is missing or when peers.txt has changed."""

import subprocess
import sys

from bench.node import ROOT, VAR

PINS, CONSTRAINTS = ROOT / "bench" / "peers.txt", ROOT / "constraints.txt"
VENV = VAR / "peers"


def install() -> None:
    made_from, wanted = VENV / "made-from.txt", PINS.read_text()
    if made_from.exists() and made_from.read_text() == wanted:
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    pip = (VENV / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run([*pip, "--constraint", CONSTRAINTS, "--requirement", PINS], check=True)
    made_from.write_text(wanted)
