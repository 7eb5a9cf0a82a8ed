"""
The least that a node in Python can do, to measure the others by: `python -m bench.limit PORT [--batched]`.

One uvloop protocol for each connection, and one that reads Redis with hiredis' own parser. A frame is built once and
written once for each delivery; batched, all that one read from Redis brings for a connection is one write.
"""

import asyncio
import base64
import hashlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

import hiredis
import redis
import uvloop

from bench.frames import CLOSE, server_frame
from bench.publisher import Send, Target

CHANNEL, TO_TOPIC = "limit", b"*"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "

by_user: defaultdict[bytes, set["UserMiddleware"]] = defaultdict(set)
in_topic: set["UserMiddleware"] = set()


class UserMiddleware(asyncio.Protocol):
    """One connection. It reads nothing but the handshake and a close."""

    def __init__(self) -> None:
        self._head, self._user = b"", b""
        self.waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport, self.write = transport, transport.write

    def data_received(self, data: bytes) -> None:
        if self._user:
            if data[0] & 0x0F == CLOSE:
                self._transport.close()
            return
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            self._shake_hands()

    def connection_lost(self, _: Exception | None) -> None:
        by_user[self._user].discard(self)
        in_topic.discard(self)

    def _shake_hands(self) -> None:
        request, *lines = self._head.split(b"\r\n")
        query = parse_qs(urlsplit(request.split(b" ")[1]).query)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + GUID).digest())
        self._user = query[b"user"][0]
        by_user[self._user].add(self)
        if b"topic" in query:
            in_topic.add(self)
        self.write(ANSWER + accept + b"\r\n\r\n")


class Relay(asyncio.Protocol):
    """Reads the node's channel, and has each message written."""

    def __init__(self, *, is_batched: bool) -> None:
        self._reader, self._is_batched = hiredis.Reader(), is_batched
        self.subscribed = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.write(f"SUBSCRIBE {CHANNEL}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        messages = []
        while (answer := self._reader.gets()) is not False:
            if answer[0] == b"message":
                messages.append(answer[2])
            else:
                self.subscribed.set()
        (self._write_joined if self._is_batched else self._write_each)(messages)

    def _write_each(self, messages: list[bytes]) -> None:
        for message in messages:
            to, _, body = message.partition(b"\n")
            frame = server_frame(body)
            for door in _doors(to):
                door.write(frame)

    def _write_joined(self, messages: list[bytes]) -> None:
        doors = []
        for message in messages:
            to, _, body = message.partition(b"\n")
            frame = server_frame(body)
            for door in _doors(to):
                if not door.waiting:
                    doors.append(door)
                door.waiting.append(frame)
        for door in doors:
            door.write(b"".join(door.waiting))
            door.waiting.clear()


def _doors(to: bytes) -> Iterable[UserMiddleware]:
    if to == TO_TOPIC:
        return in_topic
    return [door for user in to.split(b",") for door in by_user[user]]


def sender(redis_url: str) -> Send:
    client = redis.Redis.from_url(redis_url)

    def send(to: Target, message: dict[str, object]) -> None:
        head = "*" if to is None else ",".join(to)
        client.publish(CHANNEL, f"{head}\n{json.dumps(message)}")

    return send


async def main(port: int, *, is_batched: bool) -> None:
    loop = asyncio.get_running_loop()
    at = urlsplit(os.environ["QRSOCKET_REDIS_URL"])
    _, relay = await loop.create_connection(lambda: Relay(is_batched=is_batched), at.hostname or "", at.port or 0)
    await relay.subscribed.wait()
    server = await loop.create_server(UserMiddleware, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), is_batched="--batched" in sys.argv))
