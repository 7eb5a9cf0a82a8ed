"""What a wheel holds of the browser's side, and what a web process serves of it."""

import gzip
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from qrsocket.server import client_file
from tests.browser_client.wheel import build

BROWSER = "qrsocket/browser"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel holds, in a folder."""
    folder = tmp_path_factory.mktemp("wheel")
    with ZipFile(build(folder)) as wheel:
        wheel.extractall(folder / "installed")
    return folder / "installed"


def served_by(folder: Path) -> bytes:
    code = "import sys; from qrsocket.server.client_file import PATH; sys.stdout.buffer.write(PATH.read_bytes())"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={"PYTHONPATH": str(folder)}, check=True, capture_output=True
    ).stdout


@pytest.mark.timeout(180)
def test_a_wheel_serves_the_minified_client(installed: Path) -> None:
    """
    It is under 5 000 bytes as it goes out; the source is beside it, for bundlers and for who reads.
    """
    served = served_by(installed)

    assert (installed / BROWSER / "client.min.js").read_bytes() == served
    assert 5000 > len(gzip.compress(served))
    assert b"export function connect" in served
    assert Path(BROWSER, "client.js").read_bytes() == (installed / BROWSER / "client.js").read_bytes()


def test_a_checkout_serves_the_source() -> None:
    """
    Nothing is built there, so nothing can be out of date.
    """
    assert "client.js" == client_file.PATH.name
