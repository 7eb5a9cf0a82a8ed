"""Test suites as their authors have them, run by a pytest of their own that takes no warning."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PYTEST_INI = """[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


def start(folder: Path, files: Mapping[str, str], *options: str) -> "subprocess.Popen[str]":
    """Write a suite of *files* into *folder* and run it."""
    for name, text in {"pytest.ini": PYTEST_INI, **files}.items():
        (folder / name).write_text(text)
    # Once it is installed with an entry point, pytest loads the plugin by itself, and this says nothing new.
    command = [sys.executable, "-m", "pytest", "-p", "pytest_qrsocket", "-p", "no:cacheprovider", *options]
    names = ("QRSOCKET_", "CELERY_", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(folder: Path, files: Mapping[str, str], *options: str) -> str:
    """Run a suite, and return what pytest writes."""
    return end(start(folder, files, *options))


def end(process: "subprocess.Popen[str]") -> str:
    """Wait for a suite to end, and return what pytest has written."""
    with process:
        try:
            return process.communicate(timeout=40)[0]
        finally:
            process.kill()
