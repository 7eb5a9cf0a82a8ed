"""
A user's device, in a test: connected to the real application by a real socket. (Over 250 lines: half of them are the
documentation that an editor shows.)
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from pydantic_core import to_json

from qrsocket.errors import CloseCode
from qrsocket.streams import of_connection, of_user
from qrsocket.testing.expectation import ANYTHING, Mismatch, Received, describe, match
from qrsocket.testing.jobs import Job
from qrsocket.testing.joined import JoinedTopic, RequestFailed
from qrsocket.testing.link import Link
from qrsocket.testing.middleware import Application
from qrsocket.testing.opening import Target
from qrsocket.testing.receiver import Receiver
from qrsocket.testing.requests import http_client
from qrsocket.testing.serving import served
from qrsocket.users import HasId

if TYPE_CHECKING:
    from httpx2 import AsyncClient

# A job takes its way through a broker and another process.
JOB_TIMEOUT = 10.0


class Client(Receiver):
    """Made by `client`. What comes while nobody waits is kept: messages for `receives`, jobs in `jobs`."""

    def __init__(self, app: Application | str, target: Target, user: str | None, auth: Any, timeout: float) -> None:
        link = Link(timeout)
        super().__init__(link, link.conversation.mine)
        self._app, self._target, self._user, self._auth = app, target, user, auth
        self._said = link.conversation
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
        return self._said.mine.recovered

    @property
    def epoch(self) -> str | None:
        return None if self._said.mine.position is None else self._said.mine.position.epoch

    @property
    def offset(self) -> int | None:
        """Of the last message that came, received by the test or not."""
        return None if self._said.mine.position is None else self._said.mine.position.offset

    @property
    def gaps(self) -> int:
        """How often it was told, while connected, that something may be missing."""
        return self._said.mine.gaps

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
        return {**self._target.headers, **self._connection_header()}

    @property
    def http(self) -> "AsyncClient":
        """An HTTP client of the same application as the same user, with the same headers and cookies. Needs httpx2."""
        if self._http is None:
            self._http = http_client(self._target, self._connection_header)
        return self._http

    async def send(self, message: Any) -> None:
        """Send bytes as a binary frame, anything else as JSON, a `str` too."""
        await self._link.write(_framed("-", message))

    async def send_text(self, text: str) -> None:
        """Send *text* as it is, for `on_message(type="string")`."""
        await self._link.write(f"-\n{text}")

    async def request(self, message: Any, expected: Any = ANYTHING, *, timeout: float | None = None) -> Any:
        """
        Send *message* as `socket.request` does in a page, and return the answer.

        Args:
            expected: What the answer must be: see `receives`.

        Raises:
            RequestFailed: It was answered with an error.
            AssertionError: It was answered otherwise than expected, or not in time, or the connection was closed.
        """
        id = self._said.request()
        await self._link.write(_framed(f"{id} want=reply", message))
        answer = await self._answer(id, f"an answer to the request {id}", timeout)
        try:
            return match(expected, answer)
        except Mismatch as why:
            raise self._link.failure(f"expected {describe(expected)}, but the answer is\n  {answer}\n{why}") from None

    async def join(self, topic: str, *, timeout: float | None = None) -> JoinedTopic:
        """
        Join *topic* as `socket.topic` does in a page.

        Raises:
            RequestFailed: The application refused it.
        """
        id = self._said.request()
        await self._link.write(f"!join\n{to_json({'topic': topic, 'request': id}).decode()}")
        inbox = self._said.topic(topic)
        await self._link.wait(
            lambda: inbox.left is None or id in self._said.answers or None, f"to have joined {topic}", timeout
        )
        if id in self._said.answers:
            await self._answer(id, "an answer", timeout)
        return self.topic(topic)

    def topic(self, name: str) -> JoinedTopic:
        """Return what came of the topic *name*, which the application may have joined this client to."""
        return JoinedTopic(self._link, name)

    async def renew(self, auth: Any, *, timeout: float | None = None) -> None:
        """
        Say anew who this client is, as a page does when its token is about to expire.

        Raises:
            RequestFailed: The application refused it.
        """
        id = self._said.request()
        await self._link.write(f"!auth\n{to_json({'auth': auth, 'request': id}).decode()}")
        await self._answer(id, "to be renewed", timeout)

    async def receives_nothing(self, *, timeout: float | None = None) -> None:
        """
        Check that no message is left, neither received nor on its way.

        That is, of what `socket.send` had returned from before this call, in any process. It sends a message through
        Redis to the same user and waits until that one comes: no time has to pass. It takes an offset, and devices of
        the user that are not made by `client` see it. What is still to be sent, by a handler that runs, is not waited
        for.
        """
        whom = None
        if self.connection is not None:
            whom = of_connection(self.connection) if self.user is None else of_user(self.user)
        await self._check_nothing(whom, timeout)

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
                self._link.settings = server.settings
                key = {} if self._user is None else server.middleware.header_of(self._user)
                self._target = replace(self._target, address=server.address, headers=self._target.headers | key)
            stack.push_async_callback(self._leave)
            await self._link.connect(self._target, self._auth)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def _connection_header(self) -> dict[str, str]:
        return {} if self.connection is None else {"X-Socket-Connection": self.connection}

    async def _answer(self, id: str, what: str, timeout: float | None) -> Received:
        answer: Received | str = await self._link.wait(lambda: self._said.answers.get(id), what, timeout)
        if isinstance(answer, str):
            raise RequestFailed(answer)
        return answer

    async def _leave(self) -> None:
        try:
            await self._link.disconnect()
        finally:
            if self._http is not None:
                await self._http.aclose()


def _framed(header: str, message: Any) -> str | bytes:
    if isinstance(message, bytes | bytearray | memoryview):
        return f"{header}\n".encode() + bytes(message)
    return f"{header}\n{to_json(message).decode()}"


def _job_id(job: str | HasId) -> str:
    return job if isinstance(job, str) else str(job.id)
