"""Whether a tool is installed. In `nox -s tools`, which installs them all, one that is missing is an error."""

import os
from importlib.metadata import PackageNotFoundError, version

import pytest

IN_SESSION = "TOOLS_ARE_INSTALLED"


def need(*distributions: str) -> None:
    """Skip the module that calls this, unless all *distributions* are installed."""
    for distribution in distributions:
        try:
            version(distribution)
        except PackageNotFoundError:
            if IN_SESSION in os.environ:
                raise
            pytest.skip(f"{distribution} is not installed: nox -s tools", allow_module_level=True)
