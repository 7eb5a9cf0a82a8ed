"""
What an application registers its handlers on: a FastAPI router with one WebSocket route. (Over 250 lines: half of them
are the documentation that an editor shows.)
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar, overload

from fastapi import APIRouter, HTTPException, Request, Response, WebSocket
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.routing import Route

from qrsocket.errors import Unavailable
from qrsocket.quiet import limit_floods
from qrsocket.server import console, handshake
from qrsocket.server.body import Save
from qrsocket.server.client_file import client_response
from qrsocket.server.console import Console, only_this_machine
from qrsocket.server.endpoint import Endpoint, Queueable
from qrsocket.server.handlers import Handlers
from qrsocket.server.hooks import ON_OFFLINE, ON_ONLINE
from qrsocket.server.http_user import or_try_later, user_of_request
from qrsocket.server.inbound import AUTHENTICATE, MessageHandler, MessageType
from qrsocket.server.jobs import NO_SUCH_JOB, JobQueries, JobShown
from qrsocket.server.lifespan import node_of, running_node
from qrsocket.server.noticed import notice
from qrsocket.server.parameters import Function
from qrsocket.server.patterns import ON_JOIN, ON_LEAVE, TopicHandler
from qrsocket.server.polls import omit_polls
from qrsocket.server.queries import hide_queries
from qrsocket.server.runtime import Node
from qrsocket.server.session import serve
from qrsocket.settings import Settings
from qrsocket.streams import of_user

F = TypeVar("F", bound=Callable[..., Any])


class SocketRouter(APIRouter):
    """
    Sockets of an application: `app.include_router(SocketRouter("/socket"))` is all the wiring.

    It serves the WebSocket at *path*, and below it:

    - `GET /ready` for health checks: 200 while a message to a connection of this process would arrive, otherwise 503
      with the `cause`;
    - `GET /jobs`, `GET /jobs/{id}` and `POST /jobs/{id}/cancel`: the jobs of who asks, as `on_connect` says or a
      dependency that calls `authenticated(user)`; 401 if neither does;
    - `GET /client.js`: the browser's side. This and `/ready` are open to everybody: no dependency is asked.

    Several routers in one application share one node.
    """

    def __init__(
        self,
        path: str = "/socket",
        *,
        dependencies: Sequence[Depends] | None = None,
        settings: Settings | None = None,
    ) -> None:
        """
        Args:
            settings: Instead of the environment's: for the node, and for all that is sent by `socket` from handlers,
                hooks and endpoints of the application. What comes before the application is asked, a request's head
                and the number of connections, has the limits of the environment, too. Code of a lifespan passes them
                to a `Socket` of its own.
            dependencies: Of the WebSocket and the HTTP routes, as those of any router, but not of `/ready` and
                `/client.js`.
        """
        super().__init__(prefix=path, lifespan=self._run, dependencies=dependencies)
        self._path, self._settings = path, settings
        self._handlers = Handlers()
        self._console: list[Route] = []
        self.add_api_websocket_route("", self._serve, name="socket")
        # Plain routes, which take no dependencies, of the application's neither: a probe and a script have no user.
        self.add_route(f"{path}/ready", self._ready, include_in_schema=False)
        self.add_route(f"{path}/client.js", self._client, include_in_schema=False)
        # For OpenAPI alone: the plain route answers.
        self.add_api_route("/ready", self._ready, summary="Whether this node can deliver", response_model=None)
        shown: dict[str, Any] = {"response_model": JobShown, "response_model_exclude_unset": True}
        self.add_api_route("/jobs", self._jobs, summary="My jobs", **{**shown, "response_model": list[JobShown]})
        self.add_api_route("/jobs/{id:path}", self._job, summary="One of my jobs", **shown)
        self.add_api_route(
            "/jobs/{id:path}/cancel", self._cancel, methods=["POST"], summary="Stop one of my jobs", **shown
        )
        if console.in_dev:
            self._add_console("/console", Depends(only_this_machine), shows_payloads=True)

    def on_connect(self, call: F) -> F:
        """
        Register the function that identifies the user, before the connection is accepted.

        It can take parameters named `request`, `cookies`, `headers`, `query`, `client` (address), `token` (bearer) and
        `subprotocols` (those the client offers, with `choose`), and any that FastAPI resolves. It returns a user
        (anything with an `id`, a mapping with `"id"`, or the id), or None if the user is not known yet. To refuse, it
        raises `HTTPException(401)` or `(403)`.
        """
        self._once("on_connect", self._handlers.on_connect)
        self._handlers.on_connect = Function(call, handshake.ON_CONNECT)
        return call

    def authenticate(self, call: F) -> F:
        """
        Register what gets the first message (JSON) of a connection without a user.

        It returns a user as `on_connect` does, or None for an anonymous session; or raises: the client gets the error
        and is closed with 4100. Parameters are those of `on_message`.
        """
        self._once("authenticate", self._handlers.authenticate)
        self._handlers.authenticate = MessageHandler(call, "json", None, AUTHENTICATE)
        return call

    @overload
    def on_message(self, call: F) -> F: ...
    @overload
    def on_message(self, *, type: MessageType = "json", timeout: float | None = None) -> Callable[[F], F]: ...
    def on_message(
        self, call: F | None = None, *, type: MessageType = "json", timeout: float | None = None
    ) -> F | Callable[[F], F]:
        """
        Register the handler of messages: one for text frames and one for binary frames at most.

        It may ask by name for `data` (validated against its annotation), `user`, `connection`, `request_id`, or
        `request` with all four, and for `Depends`, solved for each message and closed after it. What it returns is the
        answer to a page's `socket.request(...)`; nobody gets it otherwise.

        Args:
            type: What `data` is: `"json"`, `"string"` (or `"text"`) as it came, or `"binary"`.
            timeout: Seconds until the client is answered with an error; `handler_timeout` by default.
        """
        if call is None:
            return lambda call: self._add_handler(call, type, timeout)
        return self._add_handler(call, type, timeout)

    def on_join(self, pattern: str, *, members: bool = False) -> Callable[[F], F]:
        """
        Register who may join the topics that fit *pattern*, such as `"room:{room_id}"`. Without one that fits, clients
        may not join; the first that was registered counts.

        It returns nothing, or raises to refuse: `SocketError` or `HTTPException`, whose text the client gets. It may
        ask for the pattern's parameters as an endpoint does for those of its path (`room_id: int`), by name for
        `topic`, `user` and `connection`, and for `Depends`. A parameter takes anything but `:` and `/`;
        `{name:path}` takes these, too.

        Args:
            members: Those who have joined are told who else has, and `socket.topic(name).members()` knows.

        Raises:
            ValueError: *pattern* is none.
        """

        def register(call: F) -> F:
            self._handlers.on_join.append(TopicHandler.of(pattern, call, ON_JOIN, has_members=members))
            return call

        return register

    def on_leave(self, pattern: str) -> Callable[[F], F]:
        """
        Register what is called when a connection of this node has left a topic that fits *pattern*, or has gone. It may
        ask for what `on_join` may.
        """

        def register(call: F) -> F:
            self._handlers.on_leave.append(TopicHandler.of(pattern, call, ON_LEAVE))
            return call

        return register

    def on_online(self, call: F) -> F:
        """
        Register a hook for `user_id`'s first connection, anywhere.

        It runs on one node, once each time that a user comes online, after the user's previous hook has ended. It can
        also take `event_id` and `attempt`. An `attempt` above 1 means that another node was to run the hook, but was
        killed or cut off from Redis, so it may have run there, fully or in part. The `event_id` is the same then.
        """
        self._handlers.on_online.append(Function(call, ON_ONLINE))
        return call

    def on_offline(self, call: F) -> F:
        """
        Register a hook for the close of `user_id`'s last connection, anywhere, also when its node was killed.

        It runs on one node, once the user has been gone for `offline_grace`; otherwise as `on_online`.
        """
        self._handlers.on_offline.append(Function(call, ON_OFFLINE))
        return call

    def add_job(
        self,
        path: str,
        task: Queueable,
        *,
        save: Save | None = None,
        max_bytes: int = 1024 * 1024,
        timeout: float = 8.0,
        **options: Any,
    ) -> None:
        """
        Make *task* an endpoint: `POST <path of the router><path>` queues it for the user who asks.

        The task's arguments come as a JSON object, as the fields of a form, or as text (the first argument). Arguments
        that the path names (`"/imports/{project}"`) come from there. The task's annotations validate them. The answer
        is 202, with `X-Job-Id` and the job; or 503 if the broker does not answer. The broker may take the job later,
        so that answer has `X-Job-Id`, too.

        Args:
            task: A Celery task. With `@notify_user` the user can watch it.
            save: Called with each file of a form, an `UploadFile`; returns the argument, or a mapping with several of
                them, which go before fields of the form. Only forms with a file are taken then. Without it the argument
                is the file's content, as bytes.
            max_bytes: Of the body; then 413.
            timeout: Seconds for the broker.
            options: As for `add_api_route`: `summary`, `dependencies` …

        Raises:
            TypeError: A parameter of the task has an annotation that cannot be read, or no name.
        """
        endpoint = Endpoint(task, self._path + path, save=save, max_bytes=max_bytes, timeout=timeout)

        async def queue(request: Request, response: Response) -> dict[str, Any]:
            user = await self._user(request, with_origin=True)
            id = await endpoint.queue(await endpoint.read(request, user, self._node(request).parsing), user)
            response.headers["X-Job-Id"] = id
            with suppress(Unavailable):
                if job := await self._jobs_of(request, user).find(id):
                    return job
            return {"id": id, "task": task.name, "state": "queued"}

        named = {
            "summary": task.name,
            "name": task.name,
            "openapi_extra": endpoint.openapi,
            "status_code": 202,
            **options,
        }
        self.add_api_route(path, queue, methods=["POST"], responses={202: {"model": JobShown}}, **named)

    def add_metrics(self, path: str = "/metrics", *, dependencies: Sequence[Depends] | None = None) -> None:
        """
        Serve `GET <path of the router><path>` for Prometheus: the numbers of this process, or of all that share
        `PROMETHEUS_MULTIPROC_DIR`. docs/metrics.md lists them. Needs `pip install qrsocket[metrics]`.

        Args:
            dependencies: Of this path alone. Those of the router are not asked: Prometheus is no user.
        """
        try:
            from qrsocket.prometheus import collect, exposed  # an extra, which not all install
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("metrics need prometheus-client: pip install 'qrsocket[metrics]'") from error

        collect()

        def metrics() -> Response:
            body, content_type = exposed()
            return Response(body, media_type=content_type)

        # Not by `add_api_route`, which adds the router's dependencies.
        route = APIRoute(self._path + path, metrics, dependencies=dependencies, include_in_schema=False)
        self.routes.append(route)

    def add_console(
        self, path: str = "/console", *, allow: Depends | None = None, shows_payloads: bool = False
    ) -> None:
        """
        Serve a page at `<path of the router><path>` about the whole application: nodes, workers, who is online, queues
        and jobs. Whoever may see it may send messages to users, close their connections and cancel their jobs. See
        docs/console.md. In `qrsocket dev` it is there by itself, for this machine.

        Args:
            allow: `Depends(...)` of what raises for everybody else. The router's own dependencies are not asked.
            shows_payloads: Also what jobs say (titles, messages, errors), and the messages that the page gets.

        Raises:
            ValueError: *allow* is missing.
        """
        if allow is None:
            raise ValueError(
                "add_console needs allow=Depends(...), which raises HTTPException for whoever is no administrator: the "
                "console shows who is online, and closes connections. In `qrsocket dev` it is there without add_console"
            )
        self._add_console(path, allow, shows_payloads=shows_payloads)

    def _add_console(self, path: str, allow: Depends, *, shows_payloads: bool) -> None:
        for route in self._console:
            self.routes.remove(route)  # that of `qrsocket dev`, or of a call before
        up = "../" * (path.count("/") - 1) or "."
        self._console = [*Console(self._path + path, up, shows_payloads, self._node).routes(allow)]
        self.routes.extend(self._console)

    def _add_handler(self, call: F, type: MessageType, timeout: float | None) -> F:
        handler = MessageHandler(call, type, timeout)
        if type == "binary":
            self._once('on_message for type="binary"', self._handlers.for_binary)
            self._handlers.for_binary = handler
        else:
            self._once("on_message for text frames", self._handlers.for_text)
            self._handlers.for_text = handler
        return call

    def _once(self, name: str, registered: object) -> None:
        if registered is not None:
            raise RuntimeError(f"{name} of the socket router {self._path!r} is registered already")

    @asynccontextmanager
    async def _run(self, app: Any) -> AsyncIterator[None]:
        hide_queries(self._path)  # here, since uvicorn sets up its loggers before the lifespan
        for route in self._console:
            if (route.name or "").startswith(console.POLLED):
                omit_polls(route.path)
        if self._console:
            notice()
        limit_floods()
        async with node_of(app, self._handlers, self._settings):
            yield

    async def _serve(self, websocket: WebSocket) -> None:
        await serve(websocket, self._handlers, self._node(websocket))

    async def _ready(self, request: Request) -> Response:
        node = self._node(request)
        answer = {"ready": node.is_ready, "node": node.keeper.node, "connections": len(node.hub)}
        if node.lost:
            answer["lost"] = node.lost
        if not node.is_ready:
            answer["cause"] = node.cause
        return JSONResponse(answer, 200 if node.is_ready else 503)

    async def _client(self, request: Request) -> Response:
        return client_response(request)

    async def _jobs(self, request: Request) -> Any:
        return await or_try_later(self._jobs_of(request, await self._user(request)).listed())

    async def _job(self, request: Request, id: str) -> Any:
        return _found(await or_try_later(self._jobs_of(request, await self._user(request)).find(id)))

    async def _cancel(self, request: Request, id: str) -> Any:
        user = await self._user(request, with_origin=True)
        return _found(await or_try_later(self._jobs_of(request, user).cancel(id)))

    def _jobs_of(self, request: Request, user: str) -> JobQueries:
        return JobQueries(self._node(request), of_user(user))

    async def _user(self, request: Request, *, with_origin: bool = False) -> str:
        return await user_of_request(
            request, self._handlers.on_connect, self._node(request).settings, with_origin=with_origin
        )

    def _node(self, connection: HTTPConnection) -> Node:
        node = running_node(connection.app)
        if node is None:
            raise RuntimeError(
                f"the socket router {self._path!r} is not running, because the application's lifespan has not started: "
                "include it in the application that the server runs (not in a mounted one), and in tests use "
                "`with TestClient(app)`"
            )
        return node


def _found(job: dict[str, Any] | None) -> dict[str, Any]:
    if job is None:
        raise HTTPException(404, NO_SUCH_JOB)
    return job
