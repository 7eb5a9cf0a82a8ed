"""
Many connections for a long time: does the node grow, and is anything lost? `python -m bench.soak --minutes 60`.

All clients speak `qrsocket.v1` and are in one topic. Every second some of them break off and come back with their
position, while the topic and some users are sent to; the next second begins when everything has come.
"""

import asyncio
import json
import random
import resource
import sys
import time
from typing import Annotated, Any

import typer
import uvloop

from bench.contenders import OURS
from bench.load import Connection, Lost
from bench.node import OTHERS_CORE, pin
from bench.publisher import Target
from bench.scenarios import IN_TOPIC, Stage, stage

UNICASTS, RETURNING = 50, 10  # a second
SPARE_DESCRIPTORS = 500
RETRY_AFTER = (0.5, 1, 2, 4, 8)


class Returning(Connection):
    """A client that remembers where it was."""

    def message(self, payload: bytes) -> None:
        first, _, of_topic = payload.partition(b"\n")[0].decode().partition(" t=")
        place = self._place["topics"][of_topic] if of_topic else self._place
        place["offset"] = int(first)
        super().message(payload)

    def control(self, opcode: int, payload: bytes) -> None:
        header, _, body = payload.partition(b"\n")
        if header == b"!ready":
            ready = json.loads(body)
            self._place: dict[str, Any] = {
                **_position(ready),
                "topics": {name: _position(one) for name, one in ready["topics"].items() if name != "*"},
                "connection": ready["connection"],
            }
        elif header == b"!gap":
            self._load.fail(f"a gap for {self.tally.user}: {body.decode()}")
        super().control(opcode, payload)

    def hello(self) -> bytes:
        return b"!hello\n" + json.dumps(self._place).encode()


def _position(of: dict[str, Any]) -> dict[str, Any]:
    return {"epoch": of["epoch"], "offset": of["offset"]}


async def soak(connections: int, minutes: float) -> None:
    """
    Raises:
        Lost: A client got fewer messages than were sent to it, or more; alone or in a group.
    """
    users, delivered, returned = [str(user) for user in range(connections)], 0, 0
    async with stage(OURS, Returning) as here:
        here.load.retry_after = RETRY_AFTER
        await here.load.open(here.node.port, users, IN_TOPIC)
        began = time.monotonic()
        _say(f"{connections} connections: {_mib(here)}, {here.load.refused} times refused: too busy")
        for second in range(1, round(minutes * 60) + 1):
            delivered += await one_second(here, users)
            returned += min(RETURNING, connections)
            if second % 60 == 0:
                _say(f"{second // 60} min: {_mib(here)}, {delivered} delivered, {returned} came back, 0 lost")
            await asyncio.sleep(began + second - time.monotonic())
    _say(f"the end: {delivered} delivered, {returned} came back, 0 lost")


async def one_second(here: Stage, users: list[str]) -> int:
    """Send to the topic and to some users while others come back; return how many messages have come."""
    some = random.choices(users, k=UNICASTS)
    targets: list[Target] = [None, *([user] for user in some)]
    async with here.load.receiving([*users, *some]), asyncio.TaskGroup() as tasks:
        tasks.create_task(here.publisher.send(targets))
        for place in random.sample(range(len(users)), min(RETURNING, len(users))):
            tasks.create_task(_come_back(here, place))
    return len(users) + len(some)


async def _come_back(here: Stage, place: int) -> None:
    before = here.load.connections[place]
    assert isinstance(before, Returning)
    before.cut()
    after = await here.load.connect(here.node.port, before.tally, before.hello(), IN_TOPIC)
    here.load.connections[place] = after


def _mib(here: Stage) -> str:
    return f"{here.node.rss_kib() / 1024:.0f} MiB"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    connections: Annotated[int, typer.Option(min=0, help="0: 10 000, or what the limit of open files allows.")] = 0,
    minutes: Annotated[float, typer.Option(min=0.01)] = 10.0,
) -> None:
    """Print the node's memory each minute; exit with 1 if a message was lost or came twice."""
    pin(OTHERS_CORE)
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS
    lost = None
    try:
        uvloop.run(soak(connections or min(10_000, allowed), minutes))
    except* Lost as group:
        lost = group
    if lost is not None:
        _say(f"lost: {lost.exceptions}")
        raise typer.Exit(1)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    app()
