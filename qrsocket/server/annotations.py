"""What a function of the application asks for, by its annotations: from us, or from FastAPI."""

import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ForwardRef, get_args, get_origin

from fastapi.params import Body, Param
from fastapi.params import Depends as Dependency
from fastapi.security import SecurityScopes
from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection
from starlette.responses import Response

from qrsocket.internals.fastapi import typed_signature

MARKERS = (Dependency, Param, Body)
# FastAPI gives these by their type, whatever the parameter is called.
GIVEN_BY_TYPE = (HTTPConnection, Response, BackgroundTasks, SecurityScopes)


def typed_parameters(function: Callable[..., Any], name: str) -> dict[str, inspect.Parameter]:
    """
    Return the parameters of *function*, with annotations that are no strings any more.

    Args:
        name: What the function is called in errors.

    Raises:
        TypeError: An annotation cannot be read, and so nobody knows what the parameter is.
    """
    parameters = dict(typed_signature(function).parameters)
    for part in parameters.values():
        if (text := _unread(part.annotation)) is not None:
            raise TypeError(
                f"{name}: the annotation {text!r} of {part.name} cannot be read when the program runs: import what it "
                "names outside of `if TYPE_CHECKING`, and quote the whole annotation or nothing of it"
            )
    return parameters


def _unread(annotation: Any) -> str | None:
    """Return what is still a text in *annotation*; None if nothing is."""
    if isinstance(annotation, str):
        return annotation
    if any(map(_is_fastapis, _outermost(annotation))):
        return None  # it is a dependency's, whose type nobody looks at
    # From Python 3.14 on, all is read but the name that only a type checker knows: list[Unknown].
    return next((part.__forward_arg__ for part in _parts(annotation) if isinstance(part, ForwardRef)), None)


def named(parameters: dict[str, inspect.Parameter], name: str) -> dict[str, inspect.Parameter]:
    for part in parameters.values():
        if part.kind not in (part.KEYWORD_ONLY, part.POSITIONAL_OR_KEYWORD):
            raise TypeError(
                f"{name} takes {str(part).partition(':')[0]}: its parameters must have names that may be given. "
                "If a decorator hides them, use functools.wraps in it"
            )
    return parameters


def is_of_fastapi(parameter: inspect.Parameter, name: str) -> bool:
    """
    Raises:
        TypeError: What is FastAPI's stands inside of the annotation, where FastAPI itself would not see it.
    """
    annotation = unaliased(parameter).annotation
    if any(map(_is_fastapis, (*_outermost(annotation), parameter.default))):
        return True
    if any(map(_is_fastapis, _parts(annotation))):
        raise TypeError(
            f"{name}: what FastAPI is to give as {parameter.name} stands inside of {parameter.annotation}: write it "
            f"alone, as `{parameter.name}: Annotated[…, Depends(…)]` or `{parameter.name}: Request`"
        )
    return False


def unaliased(parameter: inspect.Parameter) -> inspect.Parameter:
    annotation = parameter.annotation
    return parameter.replace(annotation=annotation.__value__) if _is_alias(annotation) else parameter


def _outermost(annotation: Any) -> tuple[Any, ...]:
    """Return *annotation*, or what stands directly in its `Annotated`: where FastAPI looks for what is its."""
    return get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)


def _parts(annotation: Any, seen: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Yield *annotation* and all that it is made of."""
    yield annotation
    if any(annotation is one for one in seen):  # an alias that holds itself
        return
    inside = (annotation.__value__,) if _is_alias(annotation) else get_args(annotation)
    for part in annotation if isinstance(annotation, list) else inside:
        yield from _parts(part, (*seen, annotation))


def _is_alias(annotation: Any) -> bool:
    return type(annotation).__name__ == "TypeAliasType"  # of a `type` statement, or of typing_extensions


def _is_fastapis(part: Any) -> bool:
    return isinstance(part, MARKERS) or (isinstance(part, type) and issubclass(part, GIVEN_BY_TYPE))
