"""A Python environment that has only what would be released, and the README's first example in it."""

import os
import shlex
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qrsocket.testing.processes import Running
from tests import readme
from tests.clients import opening
from tests.release.commands import Fault, run

QUIETLY = ("--quiet", "--disable-pip-version-check")


def install(package: Path, folder: Path) -> Path:
    """Install a wheel or an sdist as the README says, in an environment of its own; return the Python of it."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    run([python, "-m", "pip", "install", *QUIETLY, f"{package}[all,embedded]"], cwd=folder)
    found = run([python, "-c", "import qrsocket; print(qrsocket.__file__)"], cwd=folder).strip()
    if not Path(found).is_relative_to(folder / "venv"):
        raise Fault(f"the example would run with {found}, not with {package.name}")
    return python


def wheel_of(sdist: Path, python: Path, folder: Path) -> Path:
    """Build a wheel of an sdist, and of nothing else, in *folder*."""
    run([python, "-m", "pip", "wheel", *QUIETLY, "--no-deps", "--wheel-dir", folder, sdist], cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@contextmanager
def first_example(python: Path, folder: Path) -> Iterator[str]:
    """Run the first example in *folder*, with the README's command, until the block ends. Gives its host and port."""
    (folder / "main.py").write_text(readme.named("main.py"))
    command, *words = shlex.split(readme.named_command("qrsocket"))
    # With nothing of our environment: neither its settings nor its paths of Python.
    alone = ["env", "-i", f"PATH={os.environ['PATH']}", f"HOME={folder}", "PYTHONUNBUFFERED=1"]
    running = Running("example", [*alone, str(python.with_name(command)), *words, "--port", "0"], {}, cwd=folder)
    try:
        yield running.wait_for(r"open http://(\S+)")[1]
    except (AssertionError, OSError) as error:
        raise Fault("\n".join([f"the first example: {error}", *running.log[-20:]])) from error
    finally:
        running.stop()


async def watch(address: str) -> None:
    async with opening() as open:
        await readme.watch_the_first_example(address, open)
