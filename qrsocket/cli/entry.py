"""Where the command begins: says what to install when it cannot run."""

import logging
import sys
from io import TextIOWrapper

NEEDED = {"rich", "typer", "watchfiles"}


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show ✓ gets a question mark
    logging.getLogger("qrsocket").addHandler(logging.NullHandler())  # commands say what they find themselves
    try:
        from qrsocket.cli.app import app

        app()
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in NEEDED:
            raise
        sys.exit(f"the qrsocket command needs {error.name}: pip install 'qrsocket[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)
