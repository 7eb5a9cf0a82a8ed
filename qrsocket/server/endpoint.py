"""A task as an HTTP endpoint: what is sent is checked against the task's parameters, and the task is queued."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, get_origin
from uuid import uuid4

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_jsonable_python
from starlette.requests import ClientDisconnect, Request
from starlette.routing import compile_path

from qrsocket.context import current, running_for
from qrsocket.errors import InvalidJson
from qrsocket.logger import Logger
from qrsocket.message import decode_json
from qrsocket.server.annotations import typed_parameters
from qrsocket.server.body import FORMS, BodyReader, Save
from qrsocket.server.inbound import MOST_ERRORS_READ, short
from qrsocket.server.parsing import Parsing

logger = Logger(__name__)

# Threads of an endpoint. A broker that hangs keeps these, and not those that all `def` endpoints share.
MOST_QUEUED_AT_ONCE = 8
LISTS = (list, set, frozenset, tuple)


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
        if not hasattr(task, "apply_async"):
            raise TypeError(f"add_job takes a Celery task, not {task!r}: put @app.task above it")
        self._task, self._timeout, self._takes_files = task, timeout, save is not None
        self._turns = CapacityLimiter(MOST_QUEUED_AT_ONCE)
        self._parameters = _parameters_of(task)
        self._of_path = compile_path(path)[2].keys() & self._parameters.keys()
        self._of_body = [name for name in self._parameters if name not in self._of_path]
        lists = {name for name, (kind, _) in self._parameters.items() if (get_origin(kind) or kind) in LISTS}
        self._body = BodyReader(self._parameters, lists, save=save, max_bytes=max_bytes)
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
            body = await self._body.read(request)
        except ClientDisconnect:
            logger.warning("request aborted by its client", task=self._task.name, user=user)
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
            text = "job not queued: the broker does not answer, see broker_url of its Celery application"
            logger.error(text, job=id, task=self._task.name, user=user, error=type(error).__name__)
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
        if self._takes_files:
            fields = {**schema.get("properties", {}), "file": {"type": "string", "format": "binary"}}
            form = {"type": "object", "properties": fields, "required": ["file"]}
            return {"required": True, "content": {"multipart/form-data": {"schema": form}}}
        content = {"application/json": {"schema": schema}, **{kind: {"schema": schema} for kind in FORMS}}
        if self._of_body:
            content["text/plain"] = {"schema": {"type": "string"}}
        return {"required": bool(schema["required"]), "content": content}

    def _arguments(self, body: bytes | dict[str, Any], of_path: Mapping[str, Any]) -> dict[str, Any]:
        try:
            values = decode_json(body) if isinstance(body, bytes) else body
            found = self._model.model_validate({**values, **of_path} if isinstance(values, dict) else values)
        except InvalidJson as error:
            raise HTTPException(422, str(error)) from None
        except ValidationError as error:
            raise RequestValidationError(_errors_of(error)) from None
        return {self._names[field]: _plain(getattr(found, field)) for field in found.model_fields_set}


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
