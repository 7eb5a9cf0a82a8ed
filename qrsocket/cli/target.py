"""The application that a command is to run, as people name it: `MODULE:APP`."""

from importlib.util import find_spec

from qrsocket.cli.failed import Failed


def check_target(target: str, name: str, package: str, extra: str) -> None:
    """
    Raises:
        Failed: *target* names no application, or *package*, which runs it, is not installed.
    """
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise Failed(f"{name} is a module and a name in it, such as api.main:app, not {target!r}")
    if find_spec(package) is None:
        raise Failed(f"{package} is not installed: pip install 'qrsocket[{extra}]'")
