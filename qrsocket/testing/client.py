"""A user's device, in a test: connected to the real application by a real socket."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload
from uuid import uuid4

from pydantic_core import to_json

from qrsocket import audience
from qrsocket.audience import HasId
from qrsocket.errors import CloseCode
from qrsocket.sender.verbs import Recipients
from qrsocket.testing.conversation import BARRIER
from qrsocket.testing.door import Application
from qrsocket.testing.expectation import ANYTHING, Mismatch, describe, match
from qrsocket.testing.jobs import Job
from qrsocket.testing.link import Link
from qrsocket.testing.opening import Target
from qrsocket.testing.requests import http_client
from qrsocket.testing.serving import served

if TYPE_CHECKING:
    from httpx2 import AsyncClient

T = TypeVar("T")

# A job takes its way through a broker and another process.
JOB_TIMEOUT = 10.0


class Client:
    """Made by `client`. What comes while nobody waits is kept: messages for `receives`, jobs in `jobs`."""

    def __init__(self, app: Application | str, target: Target, user: str | None, auth: Any, timeout: float) -> None:
        self._app, self._target, self._user, self._auth, self._timeout = app, target, user, auth, timeout
        self._link = Link(timeout)
        self._said = self._link.conversation
        self._http: AsyncClient | None = None
        self._stack = AsyncExitStack()

    @property
    def user(self) -> str | None:
        """Id of the user that the server takes this client for; None while it has none."""
        user: str | None = (self._said.ready or {}).get("user")
        return user

    @property
    def connection(self) -> str | None:
        """Id of the connection; None before it is ready."""
        connection: str | None = (self._said.ready or {}).get("connection")
        return connection

    @property
    def recovered(self) -> bool:
        """Whether nothing is missing between what came before the last (re)connect and what comes after it."""
        return bool((self._said.ready or {}).get("recovered"))

    @property
    def epoch(self) -> str | None:
        return None if self._said.position is None else self._said.position.epoch

    @property
    def offset(self) -> int | None:
        """Of the last message that came, received by the test or not."""
        return None if self._said.position is None else self._said.position.offset

    @property
    def gaps(self) -> int:
        """How often it was told, while connected, that something may be missing."""
        return self._said.gaps

    @property
    def jobs(self) -> Mapping[str, Job]:
        """The user's jobs by id, as they were told last."""
        return self._said.jobs.newest

    @property
    def transcript(self) -> str:
        """What was sent (`>`) and received (`<`), with seconds since the beginning."""
        return str(self._said.transcript)

    @property
    def url(self) -> str:
        """The application's address, without a path."""
        return f"http://{self._target.address}"

    @property
    def headers(self) -> dict[str, str]:
        """What makes an HTTP request to `url` one of this client; `http` sends them already."""
        return dict(self._target.headers)

    @property
    def http(self) -> "AsyncClient":
        """An HTTP client of the same application as the same user, with the same headers and cookies. Needs httpx2."""
        if self._http is None:
            self._http = http_client(self._target)
        return self._http

    async def send(self, message: Any) -> None:
        """Send bytes as a binary frame, anything else as JSON, a `str` too."""
        if isinstance(message, bytes | bytearray | memoryview):
            await self._link.write(b"\n" + bytes(message))
        else:
            await self.send_text(to_json(message).decode())

    async def send_text(self, text: str) -> None:
        """Send *text* as it is, for `on_message(type="string")`."""
        await self._link.write(f"\n{text}")

    @overload
    async def receives(self, expected: type[T], *, skip: bool = ..., timeout: float | None = ...) -> T: ...
    @overload
    async def receives(self, expected: Any = ..., *, skip: bool = ..., timeout: float | None = ...) -> Any: ...
    async def receives(self, expected: Any = ANYTHING, *, skip: bool = False, timeout: float | None = None) -> Any:
        """
        Return the next message, which must be what is expected.

        Args:
            expected: A type that it must validate as, and is returned as (a Pydantic model, a dataclass, a TypedDict,
                any annotation); a predicate that must accept it; or the value itself, as `socket.send` would take it.
                Anything, by default.
            skip: Go past messages that are something else. Otherwise the first of them is a failure.

        Raises:
            AssertionError: Something else came, or nothing in time, or the connection was closed.
        """

        def look() -> tuple[Any] | None:
            while self._said.inbox:
                received = self._said.inbox.popleft()
                try:
                    return (match(expected, received),)
                except Mismatch as why:
                    if not skip:
                        text = f"expected {describe(expected)}, but this came\n  {received}\n{why}"
                        raise self._link.failure(text.rstrip()) from None
                    self._said.transcript.note(f"skipped: {received}")
            return None

        return (await self._link.wait(look, describe(expected), timeout))[0]

    async def receives_nothing(self, *, timeout: float | None = None) -> None:
        """
        Check that no message is left, neither received nor on its way.

        That is, of what `socket.send` had returned from before this call, in any process. It sends a message through
        Redis to the same user and waits until that one comes: no time has to pass. It takes an offset, and devices of
        the user that are not made by `client` see it. What is still to be sent, by a handler that runs, is not waited
        for.
        """
        mark = uuid4().hex
        if self._link.closed is None and self.connection is not None:
            own = audience.of_connection(self.connection)
            whom = own if self.user is None else audience.of_user(self.user)
            wait = self._timeout if timeout is None else timeout
            await Recipients[Any]((whom,)).send({BARRIER: mark}, wait=wait)
        await self._link.wait(lambda: mark in self._said.barriers or None, "what was sent to come", timeout)
        if self._said.inbox:
            left = "\n  ".join(map(str, self._said.inbox))
            raise self._link.failure(f"expected no message, but {len(self._said.inbox)} came\n  {left}")

    async def closed(self, *, timeout: float | None = None) -> int:
        """Wait until the connection is closed, and return the code; 1006 if it was cut."""
        code, _ = await self._link.wait(
            lambda: self._link.closed, "the connection to be closed", timeout, open_only=False
        )
        return CloseCode(code) if code in set(CloseCode) else code

    async def job_ends(self, job: str | HasId, *, timeout: float = JOB_TIMEOUT) -> Job:
        """
        Wait until *job* has ended, well or not, and return it.

        Args:
            job: Its id, or what `.delay()` returned.
        """
        id = _job_id(job)
        return await self._link.wait(lambda: self._said.jobs.ended(id), f"the job {id} to end", timeout)

    async def job_is(self, job: str | HasId, *states: str, timeout: float = JOB_TIMEOUT) -> Job:
        """Wait until *job* is, or has been, in one of *states*, and return it as it was then: `"started"`, say."""
        id = _job_id(job)
        what = f"the job {id} to be {' or '.join(states)}"
        return await self._link.wait(lambda: self._said.jobs.in_state(id, states), what, timeout)

    async def cancel(self, job: str | HasId) -> None:
        """Ask to stop *job*. `job_ends` tells what became of that; a refusal is an error, for `receives`."""
        await self._link.write(f"!cancel\n{to_json({'job': _job_id(job), 'request': uuid4().hex}).decode()}")

    def streamed(self, job: str | HasId) -> str:
        """Return what *job* has written with `job.stream()`, as far as it came."""
        return self._said.jobs.text(_job_id(job))

    async def cut(self) -> None:
        """Lose the connection without a word, as when a network fails (RST)."""
        await self._link.cut()

    async def disconnect(self) -> None:
        """Close the connection, as a page that is left does. What came before can still be received."""
        await self._link.disconnect()

    async def reconnect(self) -> None:
        """Come back, as the same client: it gets what it missed, see `recovered`. Raises as entering does."""
        await self._link.disconnect()
        await self._link.connect(self._target, self._auth)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            if isinstance(self._app, str):
                self._target = replace(self._target, address=self._app.rstrip("/").rpartition("/")[2])
            else:
                server = await stack.enter_async_context(served(self._app))
                key = {} if self._user is None else server.door.key(self._user)
                self._target = replace(self._target, address=server.address, headers=self._target.headers | key)
            stack.push_async_callback(self._leave)
            await self._link.connect(self._target, self._auth)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def _leave(self) -> None:
        try:
            await self._link.disconnect()
        finally:
            if self._http is not None:
                await self._http.aclose()


def _job_id(job: str | HasId) -> str:
    return job if isinstance(job, str) else str(job.id)
