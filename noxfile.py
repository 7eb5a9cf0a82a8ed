"""
The tests on the lowest and the newest of what qrsocket works with, on each Python that is installed: `make matrix`.

    nox -s lowest            what constraints-lowest.txt says
    nox -s newest            whatever there is today
    nox -s newest -- -k job  some of them

And beside the tools of others, at the versions that constraints-tools.txt names: `make tools`.
"""

from pathlib import Path

import nox

HERE = Path(__file__).parent
PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
# What a version of another library can change. The rest of the suite is about us.
CAN_DIFFER = (
    "tests/core",
    "tests/unit",
    "tests/redis",
    "tests/app",
    *(f"tests/processes/test_{name}.py" for name in ("celery_jobs", "celery_user", "job_fates", "task_classes")),
    *(f"tests/processes/test_{name}.py" for name in ("hooks", "readme", "serve")),
)

nox.options.sessions = ["lowest", "newest"]
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "venv"


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Run the tests on the lowest versions. The oldest libraries do not know the newest Python."""
    constraints = Path(session.create_tmp()) / "constraints.txt"
    constraints.write_text("\n".join(_lowest()))
    session.install("--quiet", "--constraint", str(constraints), "--editable", ".[dev]", "httpx")
    # They warn of each other, and leave sockets to the garbage collection; with the pins that fails a test.
    session.env["PYTEST_ADDOPTS"] = "-W ignore::DeprecationWarning -W ignore::ResourceWarning"
    _test(session, "-m", "not not_on_lowest", "--ignore", "tests/app/test_lanes.py")


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    """Run the tests on the newest versions that the registry has."""
    session.install("--quiet", "--upgrade", "--upgrade-strategy", "eager", "--editable", ".[dev]")
    _test(session)


@nox.session(python="3.11")
def tools(session: nox.Session) -> None:
    """Run the tests with the tools of others. All of them are installed: one that is missing is an error."""
    wanted = _pins(HERE / "constraints-tools.txt")
    constraints = Path(session.create_tmp()) / "constraints.txt"
    constraints.write_text("\n".join((_pins(HERE / "constraints.txt") | wanted).values()))
    session.install("--quiet", "--constraint", str(constraints), "--editable", ".[dev]", *wanted)
    session.env["TOOLS_ARE_INSTALLED"] = "1"
    session.run("pytest", "-n", "2", "-p", "no:cacheprovider", *(session.posargs or ["tests/tools"]))


def _test(session: nox.Session, *options: str) -> None:
    chosen = session.posargs or CAN_DIFFER
    session.run("pytest", "-n", "3", "-p", "no:cacheprovider", *options, *chosen)


def _lowest() -> list[str]:
    """Return what is pinned, with the lowest versions in place of those that they stand for."""
    low, pinned = (_pins(HERE / name) for name in ("constraints-lowest.txt", "constraints.txt"))
    return list((pinned | low).values())


def _pins(path: Path) -> dict[str, str]:
    lines = (line.strip() for line in path.read_text().splitlines())
    return {line.partition("==")[0].lower().replace("_", "-"): line for line in lines if line and line[0] != "#"}
