"""Keeps out of uvicorn's log what an open console asks every two seconds, while it is answered."""

import logging

OK = 200


class _OmitPolls(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self.paths: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        match record.args:
            case (_, "GET", str(target), _, status) if status == OK:
                path = target.partition("?")[0]
                return not any(path.endswith(ours) for ours in self.paths)  # a prefix may stand before it
        return True


_filter = _OmitPolls()


def omit_polls(path: str) -> None:
    """Leave out requests of *path* that were answered with 200, from now on."""
    _filter.paths.add(path)
    logging.getLogger("uvicorn.access").addFilter(_filter)  # the same one is added once
