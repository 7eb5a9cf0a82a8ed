"""Builds what is released: a wheel and an sdist with a minified browser client, and that client as an npm package."""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser_client.packages import HERE as BROWSER_CLIENT
from tests.browser_client.packages import install
from tests.release.commands import ROOT, node, npm, run

BESIDE = ("pyproject.toml", "README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "pytest_qrsocket.py")


def build_python(folder: Path) -> tuple[Path, Path]:
    """
    Build an sdist into *folder*, and of that the wheel.

    It is done in a copy: in a checkout the minified file would be served, and grow old.
    """
    install()
    with TemporaryDirectory() as name:
        copy = Path(name)
        for file in BESIDE:
            shutil.copy(ROOT / file, copy)
        shutil.copytree(ROOT / "qrsocket", copy / "qrsocket", ignore=shutil.ignore_patterns("__pycache__"))
        minified = node([BROWSER_CLIENT / "minify.js", "client.js"], cwd=copy)
        (copy / "qrsocket" / "browser" / "client.min.js").write_text(minified)
        run([sys.executable, "-m", "build", "--outdir", folder.resolve(), "."], cwd=copy)
    return _only(folder, "qrsocket-*.tar.gz"), _only(folder, "qrsocket-*.whl")


def build_npm(folder: Path) -> Path:
    """Pack the browser's side into *folder*, with the license of the whole."""
    with TemporaryDirectory() as name:
        copy = shutil.copytree(ROOT / "qrsocket" / "browser", Path(name) / "browser")
        shutil.copy(ROOT / "LICENSE", copy)
        npm(["pack", "--pack-destination", folder.resolve()], cwd=copy)
    return _only(folder, "qrsocket-*.tgz")


def _only(folder: Path, pattern: str) -> Path:
    (path,) = folder.resolve().glob(pattern)
    return path
