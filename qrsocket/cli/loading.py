"""Loads an application by its name, `MODULE:NAME`, and says what is wrong with that name in one line."""

import importlib
import traceback
from difflib import get_close_matches
from functools import reduce
from types import TracebackType
from typing import Any

from qrsocket.cli.failed import Failed


def load(target: str) -> Any:
    """
    Import *target*. What the application itself raises meanwhile is printed, with its traceback.

    Raises:
        Failed: It cannot be imported.
    """
    name, _, attributes = target.partition(":")
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            where = f"there is no module {error.name!r} here: run the command in the folder that holds it"
            raise Failed(f"cannot import {target}: {where}") from None
        traceback.print_exception(error.with_traceback(_of_application(error.__traceback__)))
        raise Failed(f"cannot import {target}: {type(error).__name__}: {error}") from None
    try:
        return reduce(getattr, attributes.split("."), module)
    except AttributeError as error:
        meant = get_close_matches(str(error.name), dir(error.obj), n=1)
        hint = f": {meant[0]} may be meant" if meant else ""
        raise Failed(f"cannot import {target}: {error}{hint}") from None


def _of_application(trace: TracebackType | None) -> TracebackType | None:
    """Leave out our own frames and those of the import machinery."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file != __file__ and "importlib" not in file:
            break
        trace = trace.tb_next
    return trace
