"""A task as an HTTP endpoint: what is sent is checked against the task's parameters, and the task is queued."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeAlias, get_origin, get_type_hints
from uuid import uuid4

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_jsonable_python
from starlette.datastructures import UploadFile as Uploaded
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message as Event

from qrsocket.context import current, running_for
from qrsocket.errors import InvalidJson
from qrsocket.message import decode_json

logger = logging.getLogger(__name__)

Save: TypeAlias = Callable[[UploadFile], Awaitable[Any]]
# Threads of an endpoint. A broker that hangs keeps these, and not those that all `def` endpoints share.
MOST_QUEUED_AT_ONCE = 8
LISTS = (list, set, frozenset, tuple)
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class Queueable(Protocol):
    """A Celery task."""

    name: str

    @property
    def run(self) -> Callable[..., Any]: ...

    def apply_async(self, args: Any = None, kwargs: Any = None, task_id: str | None = None) -> Any: ...


class Endpoint:
    """What a task takes, and how it is queued."""

    def __init__(self, task: Queueable, *, save: Save | None, max_bytes: int, timeout: float) -> None:
        self._task, self._save, self._max_bytes, self._timeout = task, save, max_bytes, timeout
        self._turns = CapacityLimiter(MOST_QUEUED_AT_ONCE)
        self._parameters = _parameters_of(task.run)
        self._lists = {name for name, (kind, _) in self._parameters.items() if (get_origin(kind) or kind) in LISTS}
        # Pydantic keeps some names for itself, so that fields go by number.
        self._names = {f"p{number}": name for number, name in enumerate(self._parameters)}
        fields: dict[str, Any] = {field: self._parameters[name] for field, name in self._names.items()}
        config = ConfigDict(
            extra="forbid", arbitrary_types_allowed=True, title=task.name, alias_generator=self._names.__getitem__
        )
        self._model: type[BaseModel] = create_model("Arguments", __config__=config, **fields)

    async def read(self, request: Request) -> dict[str, Any]:
        """
        Return the arguments of the task that *request* has.

        Raises:
            RequestValidationError: They are not what the task takes.
            HTTPException: The body is too large, or of a kind that we do not read.
        """
        try:
            values = self._model.model_validate(await self._values(request))
        except ClientDisconnect:
            logger.warning("request broken off by its client", extra={"task": self._task.name})
            raise HTTPException(400, "The client has gone") from None
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from None
        return {self._names[field]: _plain(getattr(values, field)) for field in values.model_fields_set}

    async def queue(self, arguments: dict[str, Any], user: str) -> str:
        """
        Queue the task for *user*, in a thread, since that blocks. Returns its id.

        Raises:
            HTTPException: The broker did not take it in time. It may yet: the answer has the job's id all the same.
        """
        id = str(uuid4())
        call = partial(self._task.apply_async, kwargs=arguments, task_id=id)
        try:
            with running_for(replace(current(), user=user)), anyio.fail_after(self._timeout):
                await to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._turns)
        except Exception as error:  # kombu's, which a web process need not have
            logger.error("job not queued", extra={"task": self._task.name, "cause": type(error).__name__})
            detail = "The job queue does not answer. Try again in a moment."
            raise HTTPException(503, detail, {"Retry-After": "5", "X-Job-Id": id}) from error
        return id

    @property
    def request_body(self) -> dict[str, Any]:
        """What is sent, for OpenAPI."""
        schema = self._model.model_json_schema()
        schema = _without_references(schema, schema.pop("$defs", {}))
        if self._save is not None:
            fields = {**schema.get("properties", {}), "file": {"type": "string", "format": "binary"}}
            form = {"type": "object", "properties": fields, "required": ["file"]}
            return {"required": True, "content": {"multipart/form-data": {"schema": form}}}
        content = {"application/json": {"schema": schema}, **{kind: {"schema": schema} for kind in FORMS}}
        if self._parameters:
            content["text/plain"] = {"schema": {"type": "string"}}
        return {"required": bool(schema.get("required")), "content": content}

    async def _values(self, request: Request) -> Any:
        kind = request.headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
        request = Request(request.scope, self._limited(request))
        if kind in FORMS:
            return await self._form(request)
        if self._save is not None:  # in JSON, a client could name what it has not uploaded
            raise HTTPException(415, "A form with a file is expected (multipart/form-data)")
        body = await request.body()
        if kind == "application/json" or kind.endswith("+json"):
            try:
                return decode_json(body or b"{}")
            except InvalidJson as error:
                raise HTTPException(422, str(error)) from None
        if kind.startswith("text/") and self._parameters:
            try:
                return {next(iter(self._parameters)): body.decode()}
            except UnicodeDecodeError:
                raise HTTPException(422, "Not UTF-8 text") from None
        raise HTTPException(415, f"{kind} is not taken here: send JSON, a form or text")

    async def _form(self, request: Request) -> dict[str, Any]:
        values: dict[str, Any] = {}
        saved: dict[str, Any] = {}
        async with request.form() as form:
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

    async def _saved(self, file: Uploaded) -> Any:
        if self._save is None:
            return await file.read()
        return await self._save(UploadFile(file.file, size=file.size, filename=file.filename, headers=file.headers))

    def _limited(self, request: Request) -> Callable[[], Awaitable[Event]]:
        size_bytes = 0

        async def receive() -> Event:
            nonlocal size_bytes
            event = await request.receive()
            size_bytes += len(event.get("body", b""))
            if size_bytes > self._max_bytes:
                raise HTTPException(413, f"More than {self._max_bytes} bytes")
            return event

        return receive


def _parameters_of(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Return annotation and default of each parameter."""
    hints = get_type_hints(inspect.unwrap(function), include_extras=True)
    parameters: dict[str, tuple[Any, Any]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        parameters[name] = (hints.get(name, Any), default)
    return parameters


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
