"""A message from a client: decoded, validated, handled in time, and answered with an error if that fails."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import Parameter
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter, ValidationError
from starlette.websockets import WebSocket

from qrsocket.errors import SocketError
from qrsocket.message import decode_json
from qrsocket.server.failing import within
from qrsocket.server.inbox import Inbox
from qrsocket.server.parameters import Function, Kind
from qrsocket.server.parsing import Parsing
from qrsocket.settings import Settings
from qrsocket.users import User

MessageType: TypeAlias = Literal["json", "string", "text", "binary"]
MOST_ERRORS_READ, MOST_ERRORS_TOLD, MOST_OF_A_KEY = 100, 5, 100
PARAMETERS = frozenset({"data", "connection", "request_id", "user", "request"})
ON_MESSAGE, AUTHENTICATE = Kind("on_message", PARAMETERS), Kind("authenticate", PARAMETERS)


@dataclass(frozen=True, slots=True)
class SocketRequest:
    """
    A message that a client sent, for handlers that ask for `request`.

    Attributes:
        data: Decoded, and validated if the handler's `data` is annotated.
        user: None in an anonymous session.
        connection: Id of the connection.
        request_id: Unique; in the log, and in the error that the client gets.
    """

    data: Any
    user: User | None
    connection: str
    request_id: str


class MessageHandler:
    """A handler of messages, with the way to decode them."""

    def __init__(
        self, call: Callable[..., Any], type: MessageType, timeout: float | None, kind: Kind = ON_MESSAGE
    ) -> None:
        if type not in ("json", "string", "text", "binary"):
            raise ValueError(f'type must be "json", "string", "text" or "binary", not {type!r}')
        self.function = Function(call, kind)
        self.type: MessageType = type
        self._timeout = timeout
        data = self.function.parameters.get("data")
        is_annotated = data is not None and data.annotation not in (Parameter.empty, Any)
        self._adapter: TypeAdapter[Any] | None = TypeAdapter(data.annotation) if data and is_annotated else None

    async def __call__(
        self,
        payload: str | bytes,
        *,
        websocket: WebSocket,
        user: User | None,
        connection: str,
        request_id: str,
        settings: Settings,
        parsing: Parsing,
        inbox: Inbox,
    ) -> Any:
        """
        Handle one message.

        Args:
            inbox: Of the client, to which the CPU time of decoding is charged.

        Raises:
            InvalidJson, SocketError: The payload is not what the handler takes.
            HandlerTimeout: The handler did not finish in time.
            ClientGone: Its client has gone before it was decoded.
        """
        if self.type == "json" or self._adapter is not None:
            decode = partial(self._decode, payload, settings.max_json_depth)
            data = await parsing.run(user.id if user else connection, len(payload), decode, inbox)
        else:
            data = payload
        values = {
            "data": data,
            "user": user,
            "connection": connection,
            "request_id": request_id,
            "request": SocketRequest(data, user, connection, request_id),
        }
        return await within(self._timeout or settings.handler_timeout, self.function(values, websocket))

    def _decode(self, payload: str | bytes, max_depth: int) -> Any:
        value = decode_json(payload, max_depth=max_depth) if self.type == "json" else payload
        if self._adapter is None:
            return value
        try:
            # Validated from the JSON itself: there, strict models take dates, UUIDs and enums as the strings they are.
            return (self._adapter.validate_json if self.type == "json" else self._adapter.validate_python)(payload)
        except ValidationError as error:
            raise SocketError(_what_is_wrong(error)) from None  # the cause quotes the payload


def _what_is_wrong(error: ValidationError) -> str:
    """Name the first errors. To build the text of thousands, a client could keep the event loop busy."""
    count = error.error_count()
    if count > MOST_ERRORS_READ:
        return f"{count} errors in the message"
    told = error.errors(include_url=False, include_context=False, include_input=False)[:MOST_ERRORS_TOLD]
    text = "; ".join(f"{'.'.join(str(short(key)) for key in part['loc']) or 'data'}: {part['msg']}" for part in told)
    return text if count <= MOST_ERRORS_TOLD else f"{text}; and {count - MOST_ERRORS_TOLD} more"


def short(key: str | int) -> str | int:
    """Return a key of what a client sent as it is sent back in an error."""
    return key if isinstance(key, int) or len(key) <= MOST_OF_A_KEY else f"{key[:MOST_OF_A_KEY]}…"
