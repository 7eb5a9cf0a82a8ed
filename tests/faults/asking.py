"""What a client of a fault run asks: of the application, and to join topics and to leave them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Any, TypeAlias

from tests.faults.device import V1, Device

Write: TypeAlias = Callable[[str], Awaitable[None]]

REQUEST_PAUSE = (0.5, 5.0)
ROAM_PAUSE = (0.5, 5.0)
TOLD_WITHIN = 15.0

# What the application does about a request: see app.py.
TELL = "tell"
ANSWERED = ("answer", "nothing", "reply", "slow", "others", "others")
FAILING = ("fail", "crash", "late")


class Asking:
    """
    The questions of one connection: one at a time to the application, and beside them one at a time about topics. The
    last is asked when the device stays.
    """

    def __init__(self, device: Device, session: str, record: Callable[..., None]) -> None:
        self._device, self._session, self._record = device, session, record
        self._numbers = count(1)
        self._told: str | None = None
        self._waiting: dict[str, asyncio.Event] = {}

    async def run(self, write: Write) -> None:
        """Ask until cancelled, or until the device stays and each request is answered."""
        self._device.asks = True
        async with asyncio.TaskGroup() as together:
            if self._device.habits.asks:
                together.create_task(self._ask_the_application(write))
            if self._device.habits.protocol == V1:
                together.create_task(self._roam(write))
        self._device.asks = False

    def answered(self, request: str | None) -> None:
        """A message to the user answers *request*; None: what was asked last."""
        request = request or self._told
        if request in self._waiting and not self._waiting[request].is_set():
            self._record("answer", request=request)
            self._waiting[request].set()

    def replied(self, request: str, body: Any) -> None:
        is_right = body in (None, {"answer": request})
        self._end(request, "answer" if is_right else "wrong")

    def done(self, request: str) -> None:
        self._end(request, "answer")

    def failed(self, request: str) -> None:
        if request == self._told:
            self.answered(request)
        else:
            self._end(request, "error")

    def _end(self, request: str, outcome: str) -> None:
        self._record("replied", request=request, outcome=outcome)
        if request in self._waiting:
            self._waiting[request].set()

    async def _ask_the_application(self, write: Write) -> None:
        while await self._wants_more(REQUEST_PAUSE):
            if self._device.habits.protocol == V1 and self._device.chance.random() < 0.7:
                await self._request(write)
            else:
                await self._tell(write)

    async def _tell(self, write: Write) -> None:
        """Ask what is answered with a message to the user."""
        request = self._new()
        self._told = request
        self._record("request", request=request)
        if self._device.habits.protocol == V1:
            await write(f"{request}\n{self._words(request, TELL)}")
        else:
            await write(self._words(request, TELL))
        with suppress(TimeoutError):  # the message that answers may have been lost with Redis' data
            async with asyncio.timeout(TOLD_WITHIN):
                await self._waiting[request].wait()

    async def _request(self, write: Write) -> None:
        """Ask what is answered on this connection."""
        request, do = self._new(), self._device.chance.choice(ANSWERED + FAILING)
        self._record("asked", request=request, fails=do in FAILING)
        await write(f"{request} want=reply\n{self._words(request, do)}")
        await self._waiting[request].wait()

    def _words(self, request: str, do: str) -> str:
        joined = self._device.joined()
        topic = self._device.chance.choice(["", *joined])
        return json.dumps({"request": request, "session": self._session, "do": do, "topic": topic})

    async def _roam(self, write: Write) -> None:
        """Join some rooms, then leave them and come back to them."""
        device, chance = self._device, self._device.chance
        for topic in device.habits.rooms:
            if not device.topic(topic).is_joined and chance.random() < 0.7:
                await self._join(write, topic)
        while device.habits.rooms and await self._wants_more(ROAM_PAUSE):
            topic = chance.choice(device.habits.rooms)
            if device.topic(topic).is_joined:
                await self._control(write, "leave", topic=topic)
            else:
                await self._join(write, topic)

    async def _join(self, write: Write, name: str) -> None:
        """Join, now and then from where it was when it left."""
        topic = self._device.topic(name)
        if self._device.chance.random() < 0.5:
            topic.position = None
        since = {} if topic.position is None else {"epoch": topic.position[0], "offset": topic.position[1]}
        await self._control(write, "join", topic=name, since=since)

    async def _control(self, write: Write, name: str, **fields: Any) -> None:
        request = self._new()
        self._record("asked", request=request, fails=False)
        await write(f"!{name}\n{json.dumps({**fields, 'request': request})}")
        await self._waiting[request].wait()

    async def _wants_more(self, pause: tuple[float, float]) -> bool:
        """Wait so long, or until the device stays: then it does not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._device.chance.uniform(*pause)):
                await self._device.stays.wait()
        return not self._device.stays.is_set()

    def _new(self) -> str:
        request = f"{self._session}?{next(self._numbers)}"
        self._waiting[request] = asyncio.Event()
        return request
