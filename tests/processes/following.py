"""Clients of `qrsocket.v1` that come back to another node when they are closed, as the browser's does."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.app.speaking import VERSION_1
from tests.clients import PATIENCE

LAST = -1
AGAIN = 0.1
# A busy node closes with this code when Redis has not answered it in time.
NO_TIME = 1013


@dataclass
class Follower:
    """
    Attributes:
        received: What it was sent, in order.
        closed: When it was closed, and with which code, each time.
        told: After how many seconds it is to come back.
        was_told: How often it was.
        back: When it was ready, each time.
        recovered: Whether nothing was missing, each time that it came back.
        others: Headers of what else it was sent.
    """

    user: str
    received: list[Any] = field(default_factory=list)
    closed: list[tuple[float, int | None]] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    was_told: int = 0
    back: list[float] = field(default_factory=list)
    recovered: list[bool] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _since: dict[str, Any] = field(default_factory=dict)

    async def follow(self, *addresses: str) -> None:
        """Listen at the first address until it is closed or refused there, then at the next, until the last message."""
        at = 0
        while LAST not in self.received:
            url = f"ws://{addresses[at]}/socket?user={self.user}"
            code = None
            try:
                async with connect(url, subprotocols=[VERSION_1], compression=None, open_timeout=60) as connection:  # type: ignore[list-item]
                    await connection.send("!hello\n" + json.dumps(self._since))
                    code = await self._listen(connection)
            except (InvalidHandshake, OSError) as error:
                self.others.append(repr(error))
            if code != NO_TIME:
                at = min(at + 1, len(addresses) - 1)
            await asyncio.sleep(self.told.pop() if self.told else AGAIN)

    async def _listen(self, connection: ClientConnection) -> int | None:
        with suppress(ConnectionClosed):
            async for frame in connection:
                if self._read(str(frame)):
                    return None
        self.closed.append((time.monotonic(), connection.close_code))
        return connection.close_code

    def _read(self, frame: str) -> bool:
        header, _, text = frame.partition("\n")
        body = json.loads(text)
        if header == "!ready":
            if self._since:
                self.recovered.append(body["recovered"])
            self._since = {"epoch": body["epoch"], "offset": body["offset"]}
            self.back.append(time.monotonic())
            self.ready.set()
        elif header == "!draining":
            self.told.append(body["retry_after"])
            self.was_told += 1
        elif header.isdigit():
            self._since["offset"] = int(header)
            self.received.append(body)
        else:
            self.others.append(f"{header} after {self._since}")
        return bool(body == LAST)


async def all_ready(followers: Sequence[Follower], following: Sequence["asyncio.Task[None]"]) -> None:
    """Wait until each of them is connected, or one has failed."""
    waiting = asyncio.gather(*(follower.ready.wait() for follower in followers))
    await asyncio.wait({waiting, *following}, return_when=asyncio.FIRST_COMPLETED)
    for one in following:
        if one.done():
            one.result()
    await waiting


async def all_done(followers: Sequence[Follower], following: Sequence["asyncio.Task[None]"]) -> None:
    """Wait until each of them has had the last message."""
    await asyncio.wait(following, timeout=PATIENCE)
    assert [] == [follower for follower, task in zip(followers, following, strict=True) if not task.done()]
    await asyncio.gather(*following)
