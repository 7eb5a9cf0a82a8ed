"""Whether a tool is installed. In `nox -s tools`, which installs them all, one that is missing is an error."""

import os
from importlib.metadata import PackageNotFoundError, version

import pytest

IN_SESSION = "TOOLS_ARE_INSTALLED"


def need(*distributions: str) -> None:
    """Skip the module that calls this, unless all *distributions* are installed."""
    for distribution in distributions:
        need_here(_is_installed(distribution), distribution)


def need_here(is_here: bool, what: str) -> None:
    """Skip the module that calls this unless *what* is here."""
    if not is_here and IN_SESSION in os.environ:
        raise ImportError(f"{what} is not installed")
    if not is_here:
        pytest.skip(f"{what} is not installed: nox -s tools", allow_module_level=True)


def _is_installed(distribution: str) -> bool:
    try:
        return bool(version(distribution))
    except PackageNotFoundError:
        return False
