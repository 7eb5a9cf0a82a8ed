"""Keeps queries out of uvicorn's log: a WebSocket's URL is where browsers have to put a token, if not in a cookie."""

import logging
import re
from urllib.parse import unquote

from starlette.routing import compile_path

LOGGERS = ("uvicorn.access", "uvicorn.error")
NOT_FOUND = 404


class _HideQueries(logging.Filter):
    """
    Cuts the query off a path: of each WebSocket, of what is below a socket router, and where nothing is at all, since
    that may be a misspelt one of these. The queries of the application's own routes stay.
    """

    def __init__(self) -> None:
        super().__init__()
        self.paths: dict[str, re.Pattern[str]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(self._without_query(arg, record) for arg in record.args)
        return True

    def _without_query(self, arg: object, record: logging.LogRecord) -> object:
        if not isinstance(arg, str) or not arg.startswith("/"):
            return arg
        path, mark, _query = arg.partition("?")
        is_http = record.name == "uvicorn.access" and NOT_FOUND not in (record.args or ())
        is_private = not is_http or any(ours.search(unquote(path)) for ours in self.paths.values())
        return f"{path}?…" if mark and is_private else arg


_filter = _HideQueries()


def hide_queries(path: str) -> None:
    """Keep the queries of what is below *path*, and of all WebSockets, out of uvicorn's log, from now on."""
    # A prefix of `include_router` may stand before it, and ours stand behind it.
    pattern = compile_path(path)[0].pattern.removeprefix("^").removesuffix("$")
    _filter.paths[path] = re.compile(pattern)
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_filter)  # the same one is added once
