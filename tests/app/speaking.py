"""A client that speaks `qrsocket.v1`, and knows where it is in what was sent to it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from websockets.asyncio.client import ClientConnection

from qrsocket.position import Position
from tests.clients import PATIENCE, Client

VERSION_1 = "qrsocket.v1"


@dataclass
class Speaker:
    """
    Attributes:
        position: Of the last message that it has read.
        headers: Of the frames that it has read.
    """

    client: Client
    position: Position | None = None
    headers: list[str] = field(default_factory=list)

    @property
    def connection(self) -> ClientConnection:
        return self.client.connection

    async def hello(self, since: Position | None = None, **fields: Any) -> dict[str, Any]:
        """Say hello, and return the `ready` that answers it."""
        position = {} if since is None else since._asdict()
        await self.client.send_text("!hello\n" + json.dumps({**position, **fields}))
        return await self.control("ready")

    async def control(self, name: str) -> dict[str, Any]:
        """Return the next frame, which must be this control frame."""
        header, body = await self._frame()
        assert f"!{name}" == header, "\n".join(self.client.transcript)
        fields: dict[str, Any] = json.loads(body)
        if "offset" in fields and "topic" not in fields:
            self.position = Position(fields["epoch"], fields["offset"])
        return fields

    async def my_gap(self) -> dict[str, Any]:
        """Return the next gap in what is sent to the user, though one of a topic, or jobs, may come before it."""
        while True:
            header, body = await self._frame()
            fields: dict[str, Any] = json.loads(body)
            if header == "!gap" and "topic" not in fields:
                self.position = Position(fields["epoch"], fields["offset"])
                return fields
            assert header in ("!gap", "!jobs"), "\n".join(self.client.transcript)

    async def frames_until(self, name: str, **wanted: Any) -> dict[str, Any]:
        """Read frames until a control frame of this name, of whose object these fields are a part; return that."""
        while True:
            header, body = await self._frame()
            if header.split(" ")[0] == f"!{name}":
                fields: dict[str, Any] = json.loads(body)
                about = fields.get(name)
                if wanted.items() <= (about if isinstance(about, dict) else fields).items():
                    return fields

    async def ask(self, control: str, **fields: Any) -> None:
        await self.client.send_text(f"!{control}\n{json.dumps(fields)}")

    async def receive(self) -> str | bytes:
        """Return the payload of the next frame, which must be the message that follows the position."""
        header, body = await self._frame()
        while header == "!jobs" or (header == "!gap" and '"topic"' in str(body)):
            header, body = await self._frame()  # the order of streams that are read anew is nobody's promise
        assert self.position is not None
        offset = header.partition(" ")[0]
        assert str(self.position.offset + 1) == offset, "\n".join(self.client.transcript)
        self.position = self.position._replace(offset=int(offset))
        return body

    async def send(self, message: Any, request: str = "-") -> None:
        await self.client.send_text(f"{request}\n{json.dumps(message)}")

    async def closed(self) -> int:
        return await self.client.closed()

    async def cut(self) -> None:
        """Break the connection without a close frame."""
        self.connection.transport.abort()
        async with asyncio.timeout(PATIENCE):
            await self.connection.wait_closed()

    async def _frame(self) -> tuple[str, str | bytes]:
        frame = await self.client.receive_text()
        payload: str | bytes
        if isinstance(frame, str):
            header, _, payload = frame.partition("\n")
        else:
            line, _, payload = frame.partition(b"\n")
            header = line.decode()
        self.headers.append(header)
        return header, payload


OpenSpeaker: TypeAlias = Callable[..., Awaitable[Speaker]]
