"""Who may import whom. Imports inside functions count."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The stations of a message's journey, in order: imports go down the list only. Each is a prefix of module names.
STATIONS = (
    ("errors", "logger", "redis_url", "origins", "per_loop", "jwks", "internals"),
    (
        "settings",
        "signing",
        "streams",
        "spans",
        "users",
        "topics",
        "headers",
        "events",
        "message",
        "context",
        "keys",
        "position",
        "awaited",
        "patient_timeout",
        "parent_death",
        "process",
    ),
    ("failures", "trouble", "quiet", "patience", "roundtrip", "clients"),
    ("presence", "fanout", "jobs"),
    ("trail", "trail_text"),
    ("sender", "metrics", "prometheus", "status", "traces"),
    ("", "sync"),
    ("server", "celery"),
    ("browser", "cli", "embedded_redis", "jwt", "testing"),
)
FORBIDDEN = (
    ("qrsocket.fanout", "qrsocket.presence"),
    ("qrsocket.presence", "qrsocket.fanout"),
    ("qrsocket.jobs", "qrsocket.fanout"),
    ("qrsocket.jobs", "qrsocket.presence"),
    ("qrsocket.server", "qrsocket.celery"),
    ("qrsocket.server", "qrsocket.sync"),
    ("qrsocket.server", "celery"),
    ("qrsocket.celery", "qrsocket.server"),
    ("qrsocket.celery", "qrsocket.fanout"),
    ("qrsocket.celery", "qrsocket.presence"),
    ("qrsocket.celery", "fastapi"),
    ("qrsocket.celery", "starlette"),
)
LEAVES = ("browser", "cli", "embedded_redis", "jwt", "testing")
PUBLIC = {
    "qrsocket",
    "qrsocket.celery",
    "qrsocket.embedded_redis",
    "qrsocket.jwt",
    "qrsocket.prometheus",
    "qrsocket.server",
    "qrsocket.sync",
    "qrsocket.testing",
}


def modules(folder: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports; of `from a import b`, both `a` and `a.b`, since b may be a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def station(module: str) -> int | None:
    _, _, inside = module.partition("qrsocket.")
    for number, names in enumerate(STATIONS):
        if any(name and is_within(inside, name) for name in names) or (inside == "" and "" in names):
            return number
    return None


def ours(path: Path) -> set[str]:
    known = {name for name, _ in modules("qrsocket")}
    return imports(path) & known


LIBRARY = list(modules("qrsocket"))


@pytest.mark.parametrize(("module", "path"), LIBRARY, ids=[name for name, _ in LIBRARY])
def test_imports_go_down(module: str, path: Path) -> None:
    """
    A module imports only stations before its own, its own, and never a leaf of another name.
    """
    here = station(module)
    assert here is not None, f"{module} is at no station: name it in STATIONS"

    # The leaves are a row of equals: each may look at the library, none at another but the embedded server.
    up = {
        name
        for name in ours(path) - {"qrsocket"}
        if (there := station(name)) is None
        or there > here
        or (name.split(".")[1] in LEAVES and module.split(".")[1] != name.split(".")[1] and "embedded" not in name)
    }
    assert set() == up


@pytest.mark.parametrize(("package", "other"), FORBIDDEN)
def test_the_two_sides_never_meet(package: str, other: str) -> None:
    """
    The web side and the Celery side do not import each other, nor what belongs to the other's process.
    """
    found = {
        f"{module} imports {name}"
        for module, path in LIBRARY
        if is_within(module, package)
        for name in imports(path)
        if is_within(name, other)
    }

    assert set() == found


@pytest.mark.parametrize("name", ["qrsocket", "qrsocket.sync"])
def test_the_names_load_neither_side(name: str) -> None:
    """
    Importing the names for async or for blocking code loads neither the web side nor Celery.
    """
    code = f"import sys, {name}; print(*(m for m in ('celery', 'fastapi', 'starlette', 'uvicorn') if m in sys.modules))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert [] == loaded


def test_the_celery_side_does_not_load_the_web_side() -> None:
    """
    A worker that imports `qrsocket.celery` loads no web framework.
    """
    code = "import sys, qrsocket.celery; print(*(m for m in ('fastapi', 'starlette', 'uvicorn') if m in sys.modules))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert [] == loaded


EXAMPLE = [*modules("api"), *modules("worker")]


@pytest.mark.parametrize(("module", "path"), EXAMPLE, ids=[name for name, _ in EXAMPLE])
def test_the_example_uses_public_names(module: str, path: Path) -> None:
    """
    The example imports what the documentation names, and nothing behind it.
    """
    private = {name for name in ours(path) if name not in PUBLIC}

    assert set() == private


def test_what_is_imported_is_declared() -> None:
    """
    Each distribution that the library imports is one of its dependencies, and not there by chance.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name != "dev"}
    declared = {re.split(r"[^\w-]", need)[0] for need in chain(project["dependencies"], *extras.values())}
    tops = {name.partition(".")[0] for _, path in LIBRARY for name in imports(path)} - {
        *sys.stdlib_module_names,
        "qrsocket",
    }
    distributions = packages_distributions()
    # OpenTelemetry's share one package: which of them it is, nobody can tell.
    imported = [{name.lower().replace("_", "-") for name in distributions[top]} for top in tops if top in distributions]

    # For `Client.http`, which says what to install.
    assert [{"httpx2"}] == [names for names in imported if not names & declared]


# Where other libraries are known beyond what they document. Each looks at import whether it still is so.
DOORS = (
    "qrsocket.internals",
    "qrsocket.server.opening",
    "qrsocket.server.protocol",
    "qrsocket.server.http_protocol",
    "qrsocket.celery.consumer",
)
UNDOCUMENTED = (
    "celery._state",
    "celery.worker",
    "fastapi.dependencies",
    "kombu",
    "redis.asyncio.connection",
    "redis.connection",
    "redis.maint_notifications",
    "uvicorn.protocols",
)


@pytest.mark.parametrize(("module", "path"), LIBRARY, ids=[name for name, _ in LIBRARY])
def test_the_insides_of_others_have_doors(module: str, path: Path) -> None:
    """
    What a library does not document is imported by its door alone, and so are attributes with an underscore used there.
    """
    if any(is_within(module, door) for door in DOORS):
        return
    undocumented = {name for name in imports(path) for one in UNDOCUMENTED if is_within(name, one)}
    excused = [line for line in path.read_text().splitlines() if "noqa: SLF001" in line and "sys._getframe" not in line]

    assert (set(), []) == (undocumented, excused)


@pytest.mark.parametrize(("module", "path"), LIBRARY, ids=[name for name, _ in LIBRARY])
def test_files_are_short(module: str, path: Path) -> None:
    """
    A file has fewer than 250 lines, or says at its top why not.
    """
    text = path.read_text()

    assert len(text.splitlines()) < 250 or "Over 250" in text.partition("\n\n")[0], module
