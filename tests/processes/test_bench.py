"""The benchmarks run, and notice when a node loses a message."""

import asyncio
from contextlib import suppress

import pytest
from websockets.asyncio.server import ServerConnection, serve

from bench import load, report
from bench.contenders import CONTENDERS
from bench.load import Dialect, Load, Lost
from bench.scenarios import Sizes, measure
from bench.soak import soak
from tests.conftest import MS, until

TINY = Sizes(users=5, idle=4, some=2, members=5, broadcasts=4, waiting=3, backlogs=1, sends=20, paced=20)
BY_NAME = {contender.name: contender for contender in CONTENDERS}


@pytest.mark.parametrize("name", ["limit", "limit-batched", "ours-v1", "ours-metrics", "hand"])
async def test_everything_is_measured(name: str) -> None:
    """
    The smallest round of a contender has a figure for each column of the tables.
    """
    figures = await measure(BY_NAME[name], TINY)

    assert {column.key for column in (*report.NODE, *report.AROUND)} == figures.keys()
    assert all(value > 0 for key, value in figures.items() if key != "idle_kib"), figures


@pytest.mark.parametrize(("sent", "told"), [(1, "1 of 2"), (3, "3 of 2")])
async def test_what_a_node_loses_or_repeats_is_told(monkeypatch: pytest.MonkeyPatch, sent: int, told: str) -> None:
    """
    A client that gets fewer messages than it was sent, or more, ends the run.
    """

    sending = asyncio.Event()

    async def send(connection: ServerConnection) -> None:
        await sending.wait()
        for _ in range(sent):
            await connection.send('{"at":1,"text":"x"}')
        await connection.wait_closed()

    monkeypatch.setattr(load, "PATIENCE", 100 * MS)
    clients = Load(Dialect())

    async with serve(send, "127.0.0.1", 0, compression=None) as server:
        await clients.open(server.sockets[0].getsockname()[1], ["alice"])
        with suppress(Lost):  # it is told at the end, too
            async with clients.receiving(["alice", "alice"]):
                sending.set()
        await until(lambda: clients.connections[0].tally.received == sent)

        with pytest.raises(Lost, match=told):
            clients.close()


async def test_a_soak_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Clients that break off and come back while they are sent to get everything once: 20 + 50 messages a second.
    """
    await soak(connections=20, minutes=2 / 60)

    assert "the end: 140 delivered, 20 came back, 0 lost" == capsys.readouterr().out.splitlines()[-1]
