"""
The console: a page about the whole application for those who run it, and the few things that it may do.

It asks every two seconds, over HTTP and not over a socket: so it works for who is no user, and while the socket, which
it is there to look into, does not.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from fastapi.params import Depends
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import Response
from starlette.routing import Route

from qrsocket import clients, status
from qrsocket.errors import QRSocketError, Unavailable
from qrsocket.jobs.census import OwnedJob
from qrsocket.jobs.table import JobKey, Jobs
from qrsocket.keys import Keyspace
from qrsocket.message import Delivery
from qrsocket.patience import Patience
from qrsocket.presence.table import nodes_of
from qrsocket.roundtrip import arun, arun_all
from qrsocket.sender import Socket
from qrsocket.server.handshake import check_origin
from qrsocket.server.http_user import or_try_later
from qrsocket.server.runtime import Node
from qrsocket.settings import Settings
from qrsocket.streams import of_connection
from qrsocket.trail import of_message, of_user
from qrsocket.trail_text import line, verdict

FOLDER = Path(__file__).parent.parent / "console"
NAME = "qrsocket console"
POLLED = f"{NAME}: polled"
MOST_USERS, MOST_JOBS, MOST_LINES = 100, 100, 50
# What the application puts into a job, which may be anything.
PAYLOADS = {"title", "message", "error", "result"}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
THIS_MACHINE = {"127.0.0.1", "::1", "localhost"}

# Set by `qrsocket dev` before the application is imported: each router then has a console, for this machine alone.
in_dev = False


class ToSend(BaseModel):
    user: str
    message: Any


class ToClose(BaseModel):
    user: str


class ToCancel(BaseModel):
    owner: str
    id: str


def only_this_machine(request: Request) -> None:
    """
    Refuse others, and pages of other sites whose names lead to this machine (DNS rebinding): they have another Host.
    """
    try:
        host = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    except ValueError:
        host = ""
    is_ours = host in THIS_MACHINE or host.endswith(".localhost")
    if request.client is None or request.client.host not in THIS_MACHINE or not is_ours:
        raise HTTPException(403, "the console of `qrsocket dev` is for this machine: see docs/console.md for others")


@dataclass(frozen=True)
class Console:
    """
    Attributes:
        path: Of the page, with that of its router.
        up: From the page to the path of its router, relative.
        shows_payloads: What jobs say, and messages to the page itself.
        node_of: Tells which node serves a request.
    """

    path: str
    up: str
    shows_payloads: bool
    node_of: Callable[[Request], Node]

    def routes(self, allow: Depends) -> Iterator[Route]:
        # Files are open to all, as `/client.js` is: they are public, and a browser brings them no token of a query.
        yield Route(f"{self.path}.js", self._script, name=f"{NAME}: script")
        yield Route(f"{self.path}.css", self._style, name=f"{NAME}: style")
        options: dict[str, Any] = {"dependencies": [allow], "include_in_schema": False, "response_model": None}
        yield APIRoute(self.path, self._page, name=NAME, **options)
        yield APIRoute(f"{self.path}/state", self._state, name=f"{POLLED}: state", **options)
        yield APIRoute(f"{self.path}/trail", self._trail, name=f"{POLLED}: trail", **options)
        orders: Sequence[tuple[str, Callable[..., Any]]] = (
            ("send", self._send),
            ("close", self._close),
            ("cancel", self._cancel),
        )
        for name, order in orders:
            yield APIRoute(f"{self.path}/{name}", order, methods=["POST"], name=f"{NAME}: {name}", **options)

    async def _page(self) -> Response:
        own_name = self.path.rpartition("/")[2]
        page = _file("console.html").replace(b"{up}", self.up.encode()).replace(b"{name}", own_name.encode())
        return Response(page, headers=HEADERS, media_type="text/html")

    async def _script(self, _request: Request) -> Response:
        return Response(_file("console.js"), headers=HEADERS, media_type="text/javascript")

    async def _style(self, _request: Request) -> Response:
        return Response(_file("console.css"), headers=HEADERS, media_type="text/css")

    async def _state(self, request: Request, connection: str = "") -> Response:
        node = self.node_of(request)
        return Response(
            to_json(await or_try_later(self._told(node, connection))), headers=HEADERS, media_type="application/json"
        )

    async def _trail(self, request: Request, of: Literal["message", "user"], id: str) -> Response:
        """Tell what became of a message, or of what was sent to a user: the newest lines."""
        settings = self.node_of(request).settings
        try:
            notes = await or_try_later(
                asyncio.to_thread(lambda: of_user(settings, id) if of == "user" else of_message(settings, id))
            )
        except QRSocketError as error:
            raise HTTPException(422, str(error)) from None
        told = {
            "is_kept": settings.trail_seconds > 0,
            "lines": [line(note) for note in notes[-MOST_LINES:]],
            "verdict": verdict(notes) if of == "message" and notes else None,
        }
        return Response(to_json(told), headers=HEADERS, media_type="application/json")

    async def _told(self, node: Node, connection: str) -> dict[str, Any]:
        settings = node.settings
        patience = Patience(settings.redis_timeout)
        jobs = await arun_all(clients.awaiting(settings), status.job_calls(settings, most=MOST_JOBS), patience)
        return {
            "node": node.keeper.node,
            "application": f"{settings.prefix}:{settings.application}",
            "shows_payloads": self.shows_payloads,
            "status": await status.aread(settings, names=MOST_USERS),
            "jobs": [self._shown(one) for of_shard in jobs for one in of_shard],
            "your_node": await _node_of_connection(settings, connection) if connection else None,
        }

    def _shown(self, one: OwnedJob) -> dict[str, Any]:
        hidden = set() if self.shows_payloads else PAYLOADS
        shown = {name: value for name, value in one.job.items() if name not in hidden}
        return {"owner": one.owner, "user": one.user, **shown}

    async def _send(self, request: Request, order: ToSend) -> dict[str, Any]:
        return _as_told(await self._do(request, lambda socket: socket.to(order.user).send(order.message)))

    async def _close(self, request: Request, order: ToClose) -> dict[str, Any]:
        return _as_told(await self._do(request, lambda socket: socket.to(order.user).close()))

    async def _cancel(self, request: Request, order: ToCancel) -> dict[str, Any]:
        check_origin(request, ())
        settings = self.node_of(request).settings
        jobs = Jobs(Keyspace.of(settings).of_stream(order.owner), settings)
        call = jobs.advance("cancel", JobKey.of(order.owner, order.id))
        advanced = await or_try_later(arun(clients.awaiting(settings), call, timeout=settings.redis_timeout))
        if advanced.job is None:
            raise HTTPException(404, "No such job")
        return {"state": advanced.job["state"]}

    async def _do(self, request: Request, order: Callable[[Socket], Any]) -> Delivery:
        check_origin(request, ())
        try:
            delivery: Delivery = await order(Socket(settings=self.node_of(request).given))
        except Unavailable as error:
            raise HTTPException(503, str(error)) from None
        except QRSocketError as error:
            raise HTTPException(422, str(error)) from None
        return delivery


async def _node_of_connection(settings: Settings, connection: str) -> str | None:
    stream = of_connection(connection)
    call = nodes_of(Keyspace.of(settings).of_stream(stream), stream)
    nodes = await arun(clients.awaiting(settings), call, timeout=settings.redis_timeout)
    return nodes[0] if nodes else None


def _as_told(delivery: Delivery) -> dict[str, Any]:
    return {"message_id": delivery.message_id, "connections": delivery.connections, "nodes": delivery.nodes}


@cache
def _file(name: str) -> bytes:
    return (FOLDER / name).read_bytes()
