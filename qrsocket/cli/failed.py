"""How a command ends when it cannot do what it was asked: with one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from qrsocket.settings import InvalidSettings, Settings, get_settings


class Failed(Exception):
    """Raised to end the command with exit code 1. The text is one line for people, and holds no secret."""


@contextmanager
def failing_in_one_line() -> Iterator[None]:
    """End the command with exit code 1 and one line on standard error if the block raises `Failed`."""
    try:
        yield
    except Failed as error:
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True).print(Text(f"qrsocket: {error}", "bold red"), soft_wrap=True)
        sys.exit(1)


def read_settings() -> Settings:
    """
    Return the settings of this process.

    Raises:
        Failed: One of them is wrong. The text names it, not its value.
    """
    try:
        return get_settings()
    except InvalidSettings as error:
        raise Failed(str(error)) from None
