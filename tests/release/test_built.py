"""What is built of the tree, and what a web process serves of the browser's side."""

import gzip
import subprocess
import sys
from collections.abc import Callable, Set
from pathlib import Path
from zipfile import ZipFile

import pytest

from qrsocket.server import client_file
from tests.release import contents
from tests.release.build import build_npm, build_python
from tests.release.commands import Fault

BROWSER = "qrsocket/browser"


def served_by(folder: Path) -> bytes:
    code = "import sys; from qrsocket.server.client_file import PATH; sys.stdout.buffer.write(PATH.read_bytes())"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={"PYTHONPATH": str(folder)}, check=True, capture_output=True
    ).stdout


# One test, since what it needs is built in 10 seconds, and several processes would each build it.
@pytest.mark.timeout(180)
def test_what_is_built_is_complete(tmp_path: Path) -> None:
    """
    Each has all of its files. A wheel serves the client minified, under 5 000 bytes as it goes out; the source is
    beside it, for bundlers and for who reads.
    """
    sdist, wheel = build_python(tmp_path)
    installed = tmp_path / "installed"
    ZipFile(wheel).extractall(installed)
    served = served_by(installed)

    contents.check_sdist(contents.files_in(sdist))
    contents.check_wheel(contents.files_in(wheel))
    contents.check_npm(contents.files_in(build_npm(tmp_path)))
    assert (installed / BROWSER / "client.min.js").read_bytes() == served
    assert 5000 > len(gzip.compress(served))
    assert b"export function connect" in served
    assert Path(BROWSER, "client.js").read_bytes() == (installed / BROWSER / "client.js").read_bytes()


@pytest.mark.parametrize(
    ("check", "file"),
    [
        (contents.check_sdist, "qrsocket/browser/client.min.js"),
        (contents.check_sdist, "pytest_qrsocket.py"),
        (contents.check_sdist, "LICENSE"),
        (contents.check_wheel, "qrsocket/fanout/publish.lua"),
        (contents.check_wheel, "qrsocket/py.typed"),
        (contents.check_npm, "LICENSE"),
        (contents.check_npm, "react.d.ts"),
    ],
)
def test_a_missing_file_is_named(check: Callable[[Set[str]], None], file: str) -> None:
    """
    Without one of its files the check of a package fails, and says which.
    """
    with pytest.raises(Fault, match=rf"lacks .*\b{file}"):
        check(set())


@pytest.mark.parametrize("name", ["qrsocket/.env", "qrsocket/celery/job.py.orig", "notes.txt"])
def test_a_file_too_many_is_named(name: str) -> None:
    """
    What lies in the tree and is of no kind that we ship, an editor's copy say, is not shipped.
    """
    with pytest.raises(Fault, match=rf"has .*{name}"):
        contents.check_wheel(contents.library() | {name})


def test_the_versions_agree() -> None:
    """
    The Python package, the npm package and the changelog speak of one version.
    """
    contents.check_versions()


def test_a_checkout_serves_the_source() -> None:
    """
    Nothing is built there, so nothing can be out of date.
    """
    assert "client.js" == client_file.PATH.name
