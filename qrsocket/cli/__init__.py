"""The `qrsocket` command."""

from qrsocket.cli.entry import main

__all__ = ["main"]
