"""Clients of `qrsocket.v1` that come back to another node when they are closed, as the browser's does."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.app.speaking import VERSION_1

LAST = -1


@dataclass
class Follower:
    """
    Attributes:
        received: What it was sent, in order.
        closed: When it was closed, and with which code, each time.
        told: After how many seconds it was to come back, each time.
        back: When it was ready, each time.
        recovered: Whether nothing was missing, each time that it came back.
    """

    user: str
    received: list[Any] = field(default_factory=list)
    closed: list[tuple[float, int | None]] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    recovered: list[bool] = field(default_factory=list)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _since: dict[str, Any] = field(default_factory=dict)

    async def follow(self, addresses: Sequence[str]) -> None:
        """Listen at each address until closed there, or until the last message has come."""
        for address in addresses:
            url = f"ws://{address}/socket?user={self.user}"
            async with connect(url, subprotocols=[VERSION_1], compression=None, open_timeout=60) as connection:  # type: ignore[list-item]
                await connection.send("!hello\n" + json.dumps(self._since))
                with suppress(ConnectionClosed):
                    async for frame in connection:
                        if self._read(str(frame)):
                            return
            self.closed.append((time.monotonic(), connection.close_code))
            await asyncio.sleep(self.told[-1] if self.told else 0)

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
        elif header.isdigit():
            self._since["offset"] = int(header)
            self.received.append(body)
        return bool(body == LAST)


async def all_ready(followers: Sequence[Follower], following: Sequence["asyncio.Task[None]"]) -> None:
    """Wait until each of them is connected, or one has failed."""
    waiting = asyncio.gather(*(follower.ready.wait() for follower in followers))
    await asyncio.wait({waiting, *following}, return_when=asyncio.FIRST_COMPLETED)
    for one in following:
        if one.done():
            one.result()
    await waiting
