"""Task classes of the application's own, with a context around each task: its jobs are told of as any others."""

from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import Open
from tests.running import web_node, worker
from tests.watching import DONE, watch

MODULE = "tests.processes.task_classes"
RETRIED = ["queued", "started", "retrying", "started"]


async def test_jobs_in_a_context(redis_server: EmbeddedRedis, broker: EmbeddedRedis, open_client: Open) -> None:
    """
    Jobs of a `Celery` of one's own, of its task class and of others, shared ones too, run in their context and for
    their user; each state is told once and in order; a cancelled one leaves its context.
    """
    env = {"CLASSES_BROKER": broker.url}
    with web_node(app=f"{MODULE}:app", env=env) as node, worker(env, app=f"{MODULE}:jobs") as running:
        alice = await watch(node, open_client)
        long = await alice.start("/take_long")
        await alice.sees(long, "started")
        await alice.cancel(long)
        plain, shared, later = [await alice.start(f"/{name}") for name in ("of_the_application", "shared", "in_async")]
        by_super, second, twice = (
            await alice.start("/by_super", times=3),
            await alice.start("/succeed_at_second"),
            await alice.start("/fail_twice"),
        )
        calling = await alice.start("/call_another")
        expected = {
            long: ["queued", "started", "cancelled"],
            **dict.fromkeys((plain, shared, later, by_super, calling), DONE),
            second: [*RETRIED, "succeeded"],
            twice: [*RETRIED, "failed"],
        }
        await alice.sees_end_of(*expected)
        for id, context in ((plain, "by run"), (shared, "by run"), (by_super, "by super"), (second, "by super")):
            await alice.hears({"within": context, "task": id})
            await alice.hears({"left": context, "task": id})
        await alice.hears({"left": "by super", "task": long})
        running.kill()  # an orderly end takes 3 s
        for message in ({"before": by_super}, {"succeeded": by_super}, {"returned": by_super}, {"failed": twice}):
            await alice.hears(message)

        assert expected == {job: alice.states(job) for job in expected}
        assert 3 == alice.told[by_super][-1]["done"]
