"""A task as an HTTP endpoint: what is sent is checked against the task's parameters, and the task is queued."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeAlias, get_origin
from uuid import uuid4

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_jsonable_python
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as Uploaded
from starlette.requests import ClientDisconnect, Request
from starlette.routing import compile_path
from starlette.types import Message as Event

from qrsocket.context import current, running_for
from qrsocket.errors import InvalidJson
from qrsocket.message import decode_json
from qrsocket.server.inbound import MOST_ERRORS_READ, short
from qrsocket.server.parameters import typed_parameters
from qrsocket.server.parsing import Parsing

logger = logging.getLogger(__name__)

Save: TypeAlias = Callable[[UploadFile], Awaitable[Any]]
# Threads of an endpoint. A broker that hangs keeps these, and not those that all `def` endpoints share.
MOST_QUEUED_AT_ONCE = 8
# Seconds for the next piece of a body.
CHUNK_TIMEOUT = 10.0
# Of the body as a whole, as for Apache: so many seconds of waiting, and one more for so many bytes that have come.
# Source: https://httpd.apache.org/docs/2.4/mod/mod_reqtimeout.html
BODY_TIMEOUT = 20.0
SLOWEST_BYTES_PER_SECOND = 500
LISTS = (list, set, frozenset, tuple)
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class Consumed(RuntimeError):
    """Raised where a dependency has read the body as a stream, so that nobody else can read it."""

    def __str__(self) -> str:
        return "a dependency has consumed the body with `request.stream()`: let it use `await request.body()`"


class Queueable(Protocol):
    """A Celery task."""

    name: str

    @property
    def run(self) -> Callable[..., Any]: ...

    def apply_async(self, args: Any = None, kwargs: Any = None, task_id: str | None = None) -> Any: ...


class Endpoint:
    """What a task takes, and how it is queued."""

    def __init__(self, task: Queueable, path: str, *, save: Save | None, max_bytes: int, timeout: float) -> None:
        """
        Args:
            path: Of the endpoint: parameters of the task that it names come from there.

        Raises:
            TypeError: A parameter of the task cannot be known.
        """
        self._task, self._save, self._max_bytes, self._timeout = task, save, max_bytes, timeout
        self._turns = CapacityLimiter(MOST_QUEUED_AT_ONCE)
        self._parameters = _parameters_of(task)
        self._of_path = compile_path(path)[2].keys() & self._parameters.keys()
        self._of_body = [name for name in self._parameters if name not in self._of_path]
        self._lists = {name for name, (kind, _) in self._parameters.items() if (get_origin(kind) or kind) in LISTS}
        # Pydantic keeps some names for itself, so that fields go by number.
        self._names = {f"p{number}": name for number, name in enumerate(self._parameters)}
        fields: dict[str, Any] = {field: self._parameters[name] for field, name in self._names.items()}
        config = ConfigDict(
            extra="forbid", arbitrary_types_allowed=True, title=task.name, alias_generator=self._names.__getitem__
        )
        self._model: type[BaseModel] = create_model("Arguments", __config__=config, **fields)

    async def read(self, request: Request, user: str, parsing: Parsing) -> dict[str, Any]:
        """
        Return the arguments of the task that *request* has, which *user* has sent.

        Raises:
            RequestValidationError: They are not what the task takes.
            HTTPException: The body is too large, did not come, or is of a kind that we do not read.
        """
        try:
            body = await self._read(request)
        except ClientDisconnect:
            logger.warning("request broken off by its client", extra={"task": self._task.name})
            raise HTTPException(400, "The client has gone") from None
        # What the path says, the body does not.
        of_path = {name: value for name, value in request.path_params.items() if name in self._parameters}
        texts = [body] if isinstance(body, bytes) else body.values()
        size_bytes = sum(len(text) for text in texts if isinstance(text, str | bytes))
        return await parsing.run(user, size_bytes, lambda: self._arguments(body, of_path))

    async def queue(self, arguments: dict[str, Any], user: str) -> str:
        """
        Queue the task for *user*, in a thread, since that blocks. Returns its id.

        Raises:
            HTTPException: The broker did not take it in time. It may yet: the answer has the job's id all the same.
        """
        id = str(uuid4())
        call = partial(self._task.apply_async, kwargs=arguments, task_id=id)
        context = current()
        works_for = replace(context, user=user, connection=context.connection or context.claimed)
        try:
            with running_for(works_for), anyio.fail_after(self._timeout):
                await to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._turns)
        except Exception as error:  # kombu's, which a web process need not have
            logger.error("job not queued", extra={"task": self._task.name, "cause": type(error).__name__})
            detail = "The job queue does not answer. Try again in a moment."
            raise HTTPException(503, detail, {"Retry-After": "5", "X-Job-Id": id}) from error
        return id

    @property
    def openapi(self) -> dict[str, Any]:
        """What is sent, as OpenAPI describes it."""
        schema = self._model.model_json_schema()
        schema = _without_references(schema, schema.pop("$defs", {}))
        fields = schema.get("properties", {})
        of_path = {name: fields.pop(name) for name in sorted(self._of_path)}
        schema["required"] = [name for name in schema.get("required", []) if name not in of_path]
        parameters = [{"name": name, "in": "path", "required": True, "schema": of_path[name]} for name in of_path]
        return {"requestBody": self._request_body(schema)} | ({"parameters": parameters} if parameters else {})

    def _request_body(self, schema: dict[str, Any]) -> dict[str, Any]:
        if self._save is not None:
            fields = {**schema.get("properties", {}), "file": {"type": "string", "format": "binary"}}
            form = {"type": "object", "properties": fields, "required": ["file"]}
            return {"required": True, "content": {"multipart/form-data": {"schema": form}}}
        content = {"application/json": {"schema": schema}, **{kind: {"schema": schema} for kind in FORMS}}
        if self._of_body:
            content["text/plain"] = {"schema": {"type": "string"}}
        return {"required": bool(schema["required"]), "content": content}

    async def _read(self, request: Request) -> bytes | dict[str, Any]:
        """Return a JSON document as it came, and anything else by the name of its parameter."""
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
            try:
                async with asyncio.timeout(min(CHUNK_TIMEOUT, patience)):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except RuntimeError as error:
                raise Consumed from error
            except TimeoutError:  # or a middleware has taken it, and there is none to come
                raise HTTPException(408, "The body did not come") from None
            waited += clock() - began
            size_bytes += len(chunk)
            if size_bytes > self._max_bytes:
                raise HTTPException(413, f"More than {self._max_bytes} bytes")
            yield chunk

    def _arguments(self, body: bytes | dict[str, Any], of_path: Mapping[str, Any]) -> dict[str, Any]:
        try:
            values = decode_json(body) if isinstance(body, bytes) else body
            found = self._model.model_validate({**values, **of_path} if isinstance(values, dict) else values)
        except InvalidJson as error:
            raise HTTPException(422, str(error)) from None
        except ValidationError as error:
            raise RequestValidationError(_errors_of(error)) from None
        return {self._names[field]: _plain(getattr(found, field)) for field in found.model_fields_set}

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


def _parameters_of(task: Queueable) -> dict[str, tuple[Any, Any]]:
    """
    Return annotation and default of each parameter.

    Raises:
        TypeError: One cannot be given by name, or its annotation cannot be read.
    """
    parameters: dict[str, tuple[Any, Any]] = {}
    for name, parameter in typed_parameters(task.run, task.name).items():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"{task.name}: {name} cannot be given by name: leave out the / in its parameters")
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            default = ... if parameter.default is parameter.empty else parameter.default
            annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
            parameters[name] = (annotation, default)
    return parameters


def _errors_of(error: ValidationError) -> list[dict[str, Any]]:
    """Return what FastAPI tells the client. A list of thousands takes seconds, and is far longer than the body."""
    count = error.error_count()
    if count > MOST_ERRORS_READ:
        return [{"type": "too_many_errors", "loc": ("body",), "msg": f"{count} errors: too many to list"}]
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [{**one, "loc": ("body", *map(short, one["loc"]))} for one in found]


def _plain(value: Any) -> Any:
    """Return *value* as Celery can send it: bytes as they are, anything else as JSON has it."""
    return value if isinstance(value, bytes) else to_jsonable_python(value)


def _without_references(schema: Any, definitions: Mapping[str, Any], inside: tuple[str, ...] = ()) -> Any:
    """Return *schema* with its definitions in their places: elsewhere in a document, references would lead nowhere."""
    if isinstance(schema, list):
        return [_without_references(one, definitions, inside) for one in schema]
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name in inside:
        return {}  # it holds itself
    if name:
        return _without_references(definitions.get(name, {}), definitions, (*inside, name))
    return {key: _without_references(value, definitions, inside) for key, value in schema.items()}
