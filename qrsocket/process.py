"""What any process of ours says of itself: version, host and process id."""

import os
import socket
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TypedDict


class Process(TypedDict):
    """
    Attributes:
        version: Of qrsocket; "" if it runs uninstalled.
        host: Name of the machine, or of the container.
    """

    version: str
    host: str
    pid: int


def this_process() -> Process:
    return {"version": _version(), "host": socket.gethostname(), "pid": os.getpid()}


@cache
def _version() -> str:
    try:
        return version("qrsocket")
    except PackageNotFoundError:
        return ""
