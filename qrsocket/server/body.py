"""The body of a request that queues a task: JSON, a form or text, read in time and within its size."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from fastapi import HTTPException, UploadFile
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as Uploaded
from starlette.requests import Request
from starlette.types import Message as Event

from qrsocket.patient_timeout import PatientTimeout

Save: TypeAlias = Callable[[UploadFile], Awaitable[Any]]

# Seconds for the next piece of a body.
CHUNK_TIMEOUT = 10.0
# Of the body as a whole, as for Apache: so many seconds of waiting, and one more for so many bytes that have come.
# Source: https://httpd.apache.org/docs/2.4/mod/mod_reqtimeout.html
BODY_TIMEOUT = 20.0
SLOWEST_BYTES_PER_SECOND = 500
LATE = "The body did not come"
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class Consumed(RuntimeError):
    """Raised where a dependency has read the body as a stream, so that nobody else can read it."""

    def __str__(self) -> str:
        return "a dependency has consumed the body with `request.stream()`: let it use `await request.body()`"


class BodyReader:
    def __init__(
        self, parameters: Collection[str], lists: Collection[str], *, save: Save | None, max_bytes: int
    ) -> None:
        """
        Args:
            parameters: Of the task, in order; those that the path has not may come in the body.
            lists: Those that take several fields of a form.
            save: Gets each file of a form, and returns what stands for it; None: its content does.
        """
        self._parameters, self._lists, self._save, self._max_bytes = parameters, lists, save, max_bytes

    async def read(self, request: Request) -> bytes | dict[str, Any]:
        """
        Return a JSON document as it came, and anything else by the name of its parameter.

        Raises:
            HTTPException: It is too large, did not come, or is of a kind that we do not read.
            ClientDisconnect: The client has gone.
        """
        kind = request.headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
        if kind in FORMS:
            return await self._form(request)
        if self._save is not None:  # in JSON, a client could name what it has not uploaded
            raise HTTPException(415, "A form with a file is expected (multipart/form-data)")
        is_json = kind == "application/json" or kind.endswith("+json")
        of_body = [name for name in self._parameters if name not in request.path_params]
        if not is_json and not (kind.startswith("text/") and of_body):
            raise HTTPException(415, f"{kind} is not taken here: send JSON, a form or text")
        body = b"".join([chunk async for chunk in self._chunks(request)])
        if is_json:
            return body or b"{}"
        try:
            return {of_body[0]: body.decode()}
        except UnicodeDecodeError:
            raise HTTPException(422, "Not UTF-8 text") from None

    async def _chunks(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body, also when a dependency has read it before us."""
        size_bytes, waited, stream = 0, 0.0, request.stream()
        clock = asyncio.get_running_loop().time
        while True:
            began, patience = clock(), BODY_TIMEOUT + size_bytes / SLOWEST_BYTES_PER_SECOND - waited
            if patience < 0:
                raise HTTPException(408, LATE)
            try:
                async with PatientTimeout(min(CHUNK_TIMEOUT, patience)):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except RuntimeError as error:
                raise Consumed from error
            except TimeoutError:  # or a middleware has taken it, and there is none to come
                raise HTTPException(408, LATE) from None
            waited += clock() - began
            size_bytes += len(chunk)
            if size_bytes > self._max_bytes:
                raise HTTPException(413, f"More than {self._max_bytes} bytes")
            yield chunk

    async def _form(self, request: Request) -> dict[str, Any]:
        values: dict[str, Any] = {}
        saved: dict[str, Any] = {}
        async with await self._parsed_form(request) as form:
            for name, value in form.multi_items():
                said = await self._saved(value) if isinstance(value, Uploaded) else value
                if isinstance(said, Mapping):
                    saved |= said
                elif name in self._lists:
                    values.setdefault(name, []).append(said)
                else:
                    values[name] = said
        if self._save is not None and not any(isinstance(value, Uploaded) for value in form.values()):
            raise HTTPException(422, "No file in the form")
        return values | saved  # what `save` says, the client does not

    async def _parsed_form(self, request: Request) -> AbstractAsyncContextManager[FormData]:
        chunks = self._chunks(request)
        try:
            first = await anext(chunks, None)
        except Consumed:  # by a dependency that has asked for the form, perhaps, which the request has kept then
            return request.form()

        async def receive() -> Event:
            nonlocal first
            chunk, first = (first, None) if first is not None else (await anext(chunks, None), None)
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

        return Request(request.scope, receive).form()

    async def _saved(self, file: Uploaded) -> Any:
        if self._save is None:
            return await file.read()
        return await self._save(UploadFile(file.file, size=file.size, filename=file.filename, headers=file.headers))
