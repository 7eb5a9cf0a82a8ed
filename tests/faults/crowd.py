"""
The clients of a fault run: some 55 devices of 25 users, in one process.

    python -m tests.faults.crowd SEED NODE=PORT...

Orders: see `Crowd`. They come and go, and stay connected from `stay` on until the standard input ends.
"""

import asyncio
import random
import sys
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from tests.faults.conditions import FEEDS, NODES, ROOMS, SPARED_NODE, USERS, end_with_driver, folder
from tests.faults.device import PLAIN, V1, Device, Habits
from tests.faults.history import Recorder
from tests.faults.orders import obey
from tests.faults.session import Session

# What the devices of a user do. Permanent ones never leave, and are on the node that no fault hits: a user who has only
# such is never offline. One with a single other device is, whenever it leaves.
KINDS = {
    **dict.fromkeys(USERS[:4], ("permanent", "permanent")),
    **dict.fromkeys(USERS[4:6], ("permanent", "wanders", "wanders")),
    **dict.fromkeys(USERS[6:17], ("stays", "wanders", "wanders")),
    **dict.fromkeys(USERS[17:], ("wanders",)),
}
AWAY = (0.2, 3.0)
SHORTEST_BACKOFF, LONGEST_BACKOFF = 0.05, 1.0
CHECK_PAUSE = 0.02
ROOMS_OF_A_DEVICE, FEEDS_OF_A_DEVICE = 2, 30


class Crowd:
    def __init__(self, devices: list[Device], chance: random.Random) -> None:
        self._devices = {device.habits.name: device for device in devices}
        self._chance = chance

    async def opened(self, patience: float) -> list[str]:
        """Wait until each device has been open once. Returns those that have not."""
        return await self._without(lambda device: device.has_been_open, patience)

    async def choose(self) -> str:
        """Name a device that hears, but not a permanent one."""
        return self._chance.choice(
            [name for name, device in self._devices.items() if device.hears.is_set() and len(device.habits.nodes) > 1]
        )

    async def deafen(self, device: str) -> str:
        """Let *device* stop reading. Returns its user."""
        self._devices[device].hears.clear()
        return self._devices[device].habits.user

    async def hear(self, device: str) -> None:
        """Let *device* read again."""
        self._devices[device].hears.set()

    async def scatter(self) -> None:
        """Cut off half of those that are not permanent: they come back to any node, as after a fail-over."""
        for device in self._devices.values():
            if len(device.habits.nodes) > 1 and self._chance.random() < 0.5:
                device.cut()

    async def stay(self, patience: float) -> list[str]:
        """Let nobody leave or ask any more, and wait until all are open. Returns those that are not."""
        for device in self._devices.values():
            device.stays.set()
        return await self._without(lambda device: device.is_open, patience)

    async def rest(self, patience: float) -> list[str]:
        """Wait until each device has its answers. Returns those that have not."""
        return await self._without(lambda device: not device.asks, patience)

    async def finish(self, patience: float) -> list[str]:
        """Wait until each device has received the very last message. Returns those that have not."""
        return await self._without(lambda device: device.has_last, patience)

    async def truth(self) -> list[str]:
        """Return the users that have an open connection."""
        return sorted({device.habits.user for device in self._devices.values() if device.is_open})

    async def views(self) -> dict[str, dict[str, Any]]:
        """
        Return for each topic that tells its members who has joined it, how many connections, and who somebody was told
        of that has not, or was not told of.
        """
        joined = {name: self._joined(name) for name in ROOMS}
        users = {name: {device.habits.user for device in devices} for name, devices in joined.items()}
        return {
            name: {
                "members": sorted(users[name]),
                "count": len(devices),
                "wrong": sorted(device.habits.name for device in devices if device.topic(name).members != users[name]),
            }
            for name, devices in joined.items()
        }

    async def jobs(self) -> dict[str, dict[str, str]]:
        """Return the state of each job that a device of each user that is open knows."""
        return {
            name: {job: state for job, (_, state) in device.jobs.items()}
            for name, device in self._devices.items()
            if device.is_open and device.habits.protocol == V1
        }

    def _joined(self, topic: str) -> list[Device]:
        return [device for device in self._devices.values() if device.is_open and device.topic(topic).is_joined]

    async def _without(self, is_so: Callable[[Device], bool], patience: float) -> list[str]:
        try:
            async with asyncio.timeout(patience):
                while not all(is_so(device) for device in self._devices.values()):
                    await asyncio.sleep(CHECK_PAUSE)
        except TimeoutError:
            pass
        return [name for name, device in self._devices.items() if not is_so(device)]


def habits(seed: str) -> Iterator[Habits]:
    """Yield who there is. Every fourth speaks plain, and joins no topic: some of each kind."""
    chance = random.Random(f"{seed} habits")
    kinds = [(user, kind) for user, kinds in KINDS.items() for kind in kinds]
    for number, (user, kind) in enumerate(kinds, 1):
        protocol = V1 if number % 4 else PLAIN
        yield Habits(
            name=f"{user}-{number:02}-{kind}",
            user=user,
            protocol=protocol,
            nodes=[SPARED_NODE] if kind == "permanent" else NODES,
            wanders=kind == "wanders",
            asks=number % 5 in (0, 2, 3),
            compresses=number % 3 == 0,
            rooms=chance.sample(ROOMS, ROOMS_OF_A_DEVICE) if protocol == V1 else (),
            feeds=chance.sample(FEEDS, FEEDS_OF_A_DEVICE) if protocol == V1 and kind != "wanders" else (),
        )


async def keep_connected(device: Device) -> None:
    """Connect *device*, again and again, until cancelled."""
    backoff = SHORTEST_BACKOFF
    for number in count(1):
        session = Session(device, f"{device.habits.name}.{number}")
        await session.live()
        backoff = SHORTEST_BACKOFF if session.was_accepted else min(2 * backoff, LONGEST_BACKOFF)
        shortest, longest = AWAY if session.is_leaving else (SHORTEST_BACKOFF, backoff)
        await asyncio.sleep(device.chance.uniform(shortest, longest))


async def run(seed: str, ports: dict[str, int]) -> None:
    recorder = Recorder(folder(), "crowd")
    devices = [Device(one, ports, recorder, random.Random(f"{seed} {one.name}")) for one in habits(seed)]
    crowd = Crowd(devices, random.Random(f"{seed} crowd"))
    async with asyncio.TaskGroup() as running:
        tasks = [running.create_task(keep_connected(device), name=device.habits.name) for device in devices]
        await obey(
            opened=crowd.opened,
            choose=crowd.choose,
            deafen=crowd.deafen,
            hear=crowd.hear,
            scatter=crowd.scatter,
            stay=crowd.stay,
            rest=crowd.rest,
            finish=crowd.finish,
            truth=crowd.truth,
            views=crowd.views,
            jobs=crowd.jobs,
        )
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    end_with_driver()
    asyncio.run(run(sys.argv[1], {name: int(port) for name, _, port in (word.partition("=") for word in sys.argv[2:])}))
