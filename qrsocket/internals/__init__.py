"""
All that we know of other libraries beyond what they document: a file for each.

Each looks, when it is imported, whether the library still is as it was. Otherwise it raises an ImportError, which says
what is missing; who imports it does without, and says what is lost, or lets it pass.
"""

from dis import get_instructions
from importlib.metadata import version
from inspect import unwrap
from typing import NoReturn


def require(distribution: str, thing: object, *names: str) -> None:
    """
    Look whether *thing*, of *distribution*, has attributes of all these *names*; of a class, those of its objects too.

    Raises:
        ImportError: One is missing.
    """
    known = set(dir(thing))
    for base in getattr(thing, "__mro__", ()):
        code = getattr(unwrap(vars(base).get("__init__", ...)), "__code__", None)
        if code is not None:
            known.update(each.argval for each in get_instructions(code) if each.opname == "STORE_ATTR")
    for name in names:
        if name not in known:
            refuse(distribution, f"{getattr(thing, '__name__', type(thing).__name__)} has no {name}")


def refuse(distribution: str, reason: str) -> NoReturn:
    """
    Say that this version of *distribution* will not do, and why.

    Raises:
        ImportError: This version of *distribution* cannot be worked with.
    """
    raise ImportError(
        f"this does not work with {distribution} {version(distribution)}: {reason}. docs/versions.md has the versions "
        "that do",
        name=distribution,
    )
