"""What a wheel, an sdist and an npm package hold, beside what they must hold."""

import json
import re
import tarfile
import tomllib
from collections.abc import Set
from pathlib import Path
from zipfile import ZipFile

from tests.release.commands import ROOT, Fault

# Of any other kind nothing is wanted: a draft, a key, or what an editor has left.
KINDS = {".css", ".html", ".js", ".json", ".lua", ".md", ".py", ".ts", ".typed"}
BESIDE_SDIST = {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "SECURITY.md", "pyproject.toml"}
BESIDE_NPM = {"LICENSE", "README.md", "package.json"}


def files_in(archive: Path) -> set[str]:
    """Return the files of a wheel, or those of a tarball without the folder that all of them are in."""
    if archive.suffix == ".whl":
        with ZipFile(archive) as wheel:
            return set(wheel.namelist())
    with tarfile.open(archive) as tarball:
        return {member.name.partition("/")[2] for member in tarball if member.isfile()}


def library() -> set[str]:
    """Return what is in the tree, and what is made for a wheel."""
    names = {path.relative_to(ROOT).as_posix() for path in (ROOT / "qrsocket").rglob("*") if path.suffix in KINDS}
    return names | {"qrsocket/browser/client.min.js", "pytest_qrsocket.py"}


def check_wheel(files: Set[str]) -> None:
    about = {name for name in files if ".dist-info/" in name}
    _compare("the wheel", files - about, library())
    told = {name.partition(".dist-info/")[2] for name in about}
    _compare("the wheel's .dist-info", told, {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"})


def check_sdist(files: Set[str]) -> None:
    _compare("the sdist", files, library() | BESIDE_SDIST)


def check_npm(files: Set[str]) -> None:
    sides = {f"{name}.{kind}" for name in ("client", "react") for kind in ("js", "d.ts")}
    _compare("the npm package", files, sides | BESIDE_NPM)


def check_versions() -> None:
    """Compare what pyproject.toml, package.json and CHANGELOG.md call the version."""
    found = {
        "pyproject.toml": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        "package.json": json.loads((ROOT / "qrsocket" / "browser" / "package.json").read_text())["version"],
        "CHANGELOG.md": newest_in_changelog().partition(" ")[0],
    }
    if len(set(found.values())) > 1:
        raise Fault(f"versions differ: {', '.join(f'{file} says {version}' for file, version in found.items())}")


def newest_in_changelog() -> str:
    """Return the newest heading: a version, and when it was released."""
    heading = re.search(r"^## (.+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    if heading is None:
        raise Fault("CHANGELOG.md has no version")
    return heading[1]


def _compare(what: str, files: Set[str], wanted: Set[str]) -> None:
    if missing := wanted - files:
        raise Fault(f"{what} lacks {', '.join(sorted(missing))}")
    if more := files - wanted:
        raise Fault(f"{what} has {', '.join(sorted(more))}, which nothing needs")
