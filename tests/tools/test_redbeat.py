"""RedBeat, which keeps its schedule in Redis: its tasks send, and another beat goes on when the first is killed."""

from contextlib import AbstractContextManager

from qrsocket.testing.processes import Running
from tests.clients import Open
from tests.tools.installed import need
from tests.tools.running import PYTHON, running, web, worker
from tests.watching import Watcher, watch

need("celery-redbeat")

APP, JOBS = "tests.tools.shop:app", "tests.tools.shop:jobs"
SCHEDULER = ("--scheduler", "redbeat.RedBeatScheduler", "--max-interval", "1", "--pidfile", "")


def beat(env: dict[str, str]) -> AbstractContextManager[Running]:
    command = [PYTHON, "-m", "celery", "-A", JOBS, "beat", "--loglevel", "INFO", *SCHEDULER]
    return running("beat", command, env, "beat: Starting")


async def hears_rings(alice: Watcher, times: int) -> None:
    until = len(alice.messages) + times
    while len(alice.messages) < until:
        await alice.listen()


async def test_redbeat(env: dict[str, str], open_client: Open) -> None:
    """
    Each run of a scheduled task is heard once, and watched by nobody; so it goes on when the beat that runs is killed
    while another waits.
    """
    with web(APP, env) as node, worker(JOBS, env), beat(env) as first:
        alice = await watch(node, open_client)
        await hears_rings(alice, 3)
        with beat(env) as second:
            first.kill()
            second.wait_for("Acquired lock")
            await hears_rings(alice, 3)

    rings = [message["ring"] for message in alice.messages]
    assert len(rings) == len(set(rings))
    assert {} == alice.told
