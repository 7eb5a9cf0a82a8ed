"""Applications served in the test's own event loop, by real uvicorn on a loopback port. One application is one node."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from qrsocket.context import NOBODY, running_for
from qrsocket.server.finding import options_for_uvicorn
from qrsocket.server.lifespan import running_node
from qrsocket.settings import Settings, get_settings
from qrsocket.testing.middleware import Application, UserMiddleware

START_TIMEOUT = 10.0
STOP_TIMEOUT = 10.0
# Requests and sockets that are still open when the last client has left get so long to end, and are then cancelled.
GRACE = 0.3


class Server:
    """
    Serves one application, for all who ask for it at the same time.

    Attributes:
        interested: How many do.
        middleware: Lets clients in as the users that they name.
        address: `127.0.0.1:<port>`, once started.
    """

    def __init__(self, app: Application) -> None:
        self.app, self.loop, self.lock = app, asyncio.get_running_loop(), asyncio.Lock()
        self.interested = 0
        self.middleware = UserMiddleware(app)
        self.address = ""
        self.is_running = False
        self._uvicorn: uvicorn.Server

    @property
    def settings(self) -> Settings | None:
        """Those that the application was given; None: it has the environment's, or no node."""
        node = running_node(self.app)
        return None if node is None else node.given

    async def start(self) -> None:
        """
        Begin the application's lifespan and listen.

        Raises:
            RuntimeError: The lifespan has failed, which is the cause, or has not begun within 10 s.
        """
        self.middleware = UserMiddleware(self.app)
        config = uvicorn.Config(
            self.middleware, host="127.0.0.1", port=0, log_config=None, **options_for_uvicorn(get_settings())
        )
        config.load()
        self._uvicorn = uvicorn.Server(config)
        # Not `serve()`: it takes Ctrl-C from pytest, looks only every 0.1 s whether it shall end, and exits the process
        # when the lifespan fails.
        self._uvicorn.lifespan = config.lifespan_class(config)
        try:
            # All that the server does is done in the context of its start, and it must not work for the test's user.
            with running_for(NOBODY):
                async with asyncio.timeout(START_TIMEOUT):
                    await self._uvicorn.startup()
            if self._uvicorn.should_exit:  # so an older uvicorn says it
                raise SystemExit
        except SystemExit:
            raise RuntimeError("the application did not start: its lifespan failed") from self.middleware.failure
        except TimeoutError:
            await self._end_lifespan()
            raise RuntimeError(f"the application did not start: its lifespan took over {START_TIMEOUT:g} s") from None
        except BaseException:
            await self._end_lifespan()
            raise
        self.is_running = True
        self.address = f"127.0.0.1:{self._uvicorn.servers[0].sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """
        Close what is open, end the lifespan, and listen no more.

        Raises:
            RuntimeError: The lifespan has failed, which is the cause, or has not ended within 10 s.
        """
        self.is_running = False
        state = self._uvicorn.server_state
        for listener in self._uvicorn.servers:
            listener.close()
        for connection in tuple(state.connections):
            connection.shutdown()
        if not await _comes_true(lambda: not state.connections and not state.tasks, GRACE):
            await self._cut_off()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._uvicorn.lifespan.shutdown()
        except TimeoutError:
            await self._end_lifespan()
            raise RuntimeError(f"the application did not stop: its lifespan took over {STOP_TIMEOUT:g} s") from None
        if self._uvicorn.lifespan.should_exit:
            raise RuntimeError("the application did not stop: its lifespan failed") from self.middleware.failure

    async def _cut_off(self) -> None:
        state = self._uvicorn.server_state
        for task in tuple(state.tasks):
            task.cancel("the last client has left")
        for connection in tuple(state.connections):
            connection.transport.abort()
        await _comes_true(lambda: not state.connections and not state.tasks, GRACE)

    async def _end_lifespan(self) -> None:
        if self.middleware.lifespan is not None:
            self.middleware.lifespan.cancel()
            await asyncio.wait({self.middleware.lifespan}, timeout=STOP_TIMEOUT)


_servers: dict[int, Server] = {}


@asynccontextmanager
async def served(app: Application) -> AsyncIterator[Server]:
    """
    Serve *app* as `uvicorn module:app` does, until all who have asked for it have left.

    Raises:
        RuntimeError: See `Server.start`; or the application is being served in another event loop.
    """
    server = _server_of(app)
    server.interested += 1
    try:
        async with server.lock:
            if not server.is_running:
                await server.start()
        yield server
    finally:
        server.interested -= 1
        # Whoever comes while it stops waits, and then starts it again: two lifespans at once would share one node.
        try:
            async with server.lock:
                if not server.interested and server.is_running:
                    await server.stop()
        finally:
            if not server.interested:
                _servers.pop(id(app), None)


def _server_of(app: Application) -> Server:
    server = _servers.get(id(app))
    if server is None:
        server = _servers[id(app)] = Server(app)
    if server.loop is not asyncio.get_running_loop():
        state = "was closed" if server.loop.is_closed() else "is another"
        raise RuntimeError(
            f"the application is being served already, in an event loop that {state}: give the fixture that opened the "
            "client and the test one loop scope, or make an application for each test"
        )
    return server


async def _comes_true(condition: Callable[[], Any], timeout: float) -> bool:
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.001)  # uvicorn tells nobody
    return True
