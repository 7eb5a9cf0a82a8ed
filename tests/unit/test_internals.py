"""Other libraries that are not as they were: each door looks, and says what is missing and what is lost."""

import logging
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task, _state
from celery.worker.consumer import Consumer as CelerysConsumer
from fastapi.dependencies import utils
from fastapi.dependencies.models import Dependant
from kombu import Connection as Broker
from redis.asyncio.connection import Connection as AwaitingConnection
from redis.connection import Connection, ConnectionPool
from starlette.websockets import WebSocket
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

import qrsocket
from qrsocket.internals import require

LIBRARY = Path(qrsocket.__file__).parent


def set_nothing(*_args: Any, **_named: Any) -> None: ...


def takes_nothing() -> None: ...


@pytest.mark.parametrize(
    ("door", "owner", "name"),
    [
        ("internals/redis", Connection, "send_packed_command"),
        ("internals/redis", AwaitingConnection, "read_response"),
        ("internals/redis", ConnectionPool, "make_connection"),
        ("internals/celery", _state, "push_current_task"),
        ("internals/celery", _state, "_get_active_apps"),
        ("internals/celery", Celery, "finalized"),
        ("internals/celery", Task, "request_stack"),
        ("internals/fastapi", WebSocket, "_receive"),
        ("internals/fastapi", Dependant, "body_params"),
        ("internals/fastapi", utils, "solve_dependencies"),
        ("server/http_protocol", HttpToolsProtocol, "on_response_complete"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, door: str, owner: Any, name: str) -> None:
    """
    A door whose library has lost a method, an attribute of its objects or a parameter cannot be imported, and says why.
    """
    for one in getattr(owner, "__mro__", (owner,)):
        if one is utils:
            monkeypatch.setattr(one, name, takes_nothing)
        elif name in vars(one):
            monkeypatch.delattr(one, name)
        if isinstance(one, type) and one is not object:
            monkeypatch.setattr(one, "__init__", set_nothing)  # which may have set it

    with pytest.raises(ImportError, match=r"this does not work with \w+ [\d.]+: [\w.]+ (has no|takes no) \w+"):
        runpy.run_path(str(LIBRARY / f"{door}.py"))


def test_what_is_set_in_init_is_found() -> None:
    """
    Attributes of objects are found in what their class, or one that it inherits from, sets when it makes one.
    """

    class Parent:
        def __init__(self) -> None:
            self.sock = None

    class Child(Parent):
        def __init__(self) -> None:
            super().__init__()
            self.writer = None

        def write(self) -> None: ...

    require("pytest", Child, "sock", "writer", "write")
    with pytest.raises(ImportError, match="Child has no reader"):
        require("pytest", Child, "sock", "reader")


OLDER = """
from uvicorn.protocols.websockets import websockets_sansio_impl as module
del module.WebSocketsSansIOProtocol.keepalive_timeout
from qrsocket.server.finding import options_for_uvicorn, what_is_lost
from qrsocket.settings import Settings
options = options_for_uvicorn(Settings(max_message_in_bytes=7))
print(what_is_lost(), "http" in options, options.get("ws"), options["ws_max_size"], sep="|")
"""


@pytest.mark.not_on_lowest
def test_a_uvicorn_that_ours_does_not_fit() -> None:
    """
    With a uvicorn whose WebSocket class is another, its own serves with our limits; one line says what is lost.
    """
    told = subprocess.run([sys.executable, "-c", OLDER], capture_output=True, text=True, check=True).stdout.strip()

    lost, *options = told.split("|")
    assert ["True", "None", "7"] == options
    assert "this server lends no transport" in lost
    assert "WebSocketsSansIOProtocol has no keepalive_timeout" in lost


def test_a_broker_that_is_closed_otherwise(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """
    Where kombu's connection closes otherwise, a worker has Celery's own consumer, and says so.
    """
    monkeypatch.delattr(Broker, "_do_close_self")

    with caplog.at_level(logging.WARNING):
        found = runpy.run_path(str(LIBRARY / "celery/consumer.py"))

    assert found["Consumer"] is CelerysConsumer
    assert "this worker may crash if it loses its broker" in caplog.text
    assert "Connection has no _do_close_self" in caplog.text
