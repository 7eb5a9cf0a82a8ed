"""
The dashboard and the alerts under load: `python -m bench.dashboard --minutes 10 --picture dashboard.svg`.

Two web nodes, a worker and Prometheus with `deploy/alerts.yml`, some hundred clients, and three things that go wrong:
Redis stands still, a client stops reading, the worker is killed. Then each query of `deploy/grafana/dashboard.json` is
asked of Prometheus, and what it answers is drawn. Says which panels stayed empty, and which alerts fired when.

It needs `prometheus` in the path: `apt-get install prometheus`.
"""

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import typer
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bench.lines import Panel, Series, lines
from bench.watched import WORKER_PORT
from qrsocket import socket
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from qrsocket.errors import QRSocketError
from qrsocket.testing import WebNode, web_node, worker
from qrsocket.testing.processes import Running
from qrsocket.testing.redis_server import environment

DEPLOY = Path(__file__).parent.parent / "deploy"
USERS, SCRAPE_SECONDS = 200, 5
# Of 10 kB each: the kernel takes about so many for one who does not read.
FITS_INTO_BUFFERS = 300
# When it goes wrong, as parts of the time, and for how many seconds.
REDIS_STANDS_STILL, NOBODY_READS, WORKER_IS_KILLED, SECONDS = 0.4, 0.55, 0.7, 6.0


class Load:
    """Clients of two nodes, who come and go and get messages."""

    def __init__(self, nodes: list[WebNode]) -> None:
        self._nodes, self._open = nodes, dict[int, ClientConnection]()

    async def run(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(self._live(user)) for user in range(USERS)]
            everything = [group.create_task(self._every(each, do)) for each, do in self._doings().items()]
            await asyncio.sleep(seconds)
            for task in (*clients, *everything):
                task.cancel()

    def _doings(self) -> dict[float, Callable[[], Any]]:
        """Return what is done, by how many seconds apart."""
        often: dict[float, Callable[[], Any]] = {0.05: self._send, 0.2: self._ask, 0.5: self._leave}
        return often | {1.0: self._queue, 2.0: self._send_to_all, 3.0: self._knock}

    async def _every(self, seconds: float, do: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(random.expovariate(1 / seconds))
            with suppress(QRSocketError, ConnectionClosed, OSError, InvalidStatus, IndexError):  # nobody is open yet
                await do()

    async def _live(self, user: int) -> None:
        hello = "{}"
        while True:
            with suppress(ConnectionClosed, OSError, InvalidStatus):
                url = f"{self._url(user).replace('http', 'ws')}/socket?user={user}"
                async with connect(url, subprotocols=["qrsocket.v1"]) as client:  # type: ignore[list-item]
                    self._open[user] = client
                    await client.send(f"!hello\n{hello}")
                    hello = str(await client.recv()).partition("\n")[2]  # its `!ready` says where it is
                    await client.send('!join\n{"topic":"room"}')
                    async for _ in client:
                        pass
            await asyncio.sleep(random.uniform(0.5, 5.0))

    def _url(self, user: int) -> str:
        return self._nodes[user % len(self._nodes)].url

    async def _send(self) -> None:
        await socket.to(str(random.randrange(USERS * 2))).send({"hello": "world"})

    async def _send_to_all(self) -> None:
        await socket.topic("room").send("hello, all")

    async def _ask(self) -> None:
        await random.choice([*self._open.values()]).send('-\n"what is it?"')

    async def _leave(self) -> None:
        await random.choice([*self._open.values()]).close()

    async def _queue(self) -> None:
        url, head = f"{self._url(1)}/socket/count?user={random.randrange(USERS)}", {"Content-Type": "application/json"}
        await asyncio.to_thread(urlopen, Request(url, b"{}", head), timeout=10)

    async def _knock(self) -> None:
        async with connect(self._url(0).replace("http", "ws") + "/socket"):
            pass

    async def read_nothing(self) -> None:
        """Have a client stop reading what is sent to it, until it is closed for that."""
        url = self._url(0).replace("http", "ws")
        async with connect(f"{url}/socket?user=slow", max_queue=1) as client:
            client.transport.pause_reading()
            for number in range(1_000):
                await socket.to("slow").send("x" * 10_000)
                await asyncio.sleep(0.1 if number > FITS_INTO_BUFFERS else 0)


async def go_wrong(load: Load, redis: EmbeddedRedis, jobs: Callable[[], Running], seconds: float) -> None:
    began, running = time.monotonic(), jobs()

    async def until(part: float) -> None:
        await asyncio.sleep(began + part * seconds - time.monotonic())

    await until(REDIS_STANDS_STILL)
    _say("Redis stands still")
    redis.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(SECONDS)
    redis.process.send_signal(signal.SIGCONT)
    await until(NOBODY_READS)
    _say("a client reads nothing")
    with suppress(QRSocketError, ConnectionClosed):
        await load.read_nothing()
    await until(WORKER_IS_KILLED)
    _say("the worker is killed")
    running.send_signal(signal.SIGKILL)
    await asyncio.sleep(SECONDS)
    jobs()


@contextmanager
def prometheus(targets: list[str]) -> Iterator[str]:
    """Run it, reading the numbers of *targets*; return its address."""
    with TemporaryDirectory(prefix="qrsocket-") as folder:
        config = {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
            "rule_files": [str(DEPLOY / "alerts.yml")],
            "scrape_configs": [
                {"job_name": path, "metrics_path": path, "static_configs": [{"targets": some}]}
                for path, some in (("/socket/metrics", targets), ("/metrics", [f"127.0.0.1:{WORKER_PORT}"]))
            ],
        }
        Path(folder, "prometheus.yml").write_text(json.dumps(config))  # YAML, too
        words = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        running = Running("prometheus", ["prometheus", *words, "--web.listen-address=127.0.0.1:9391"], {})
        try:
            running.wait_for("ready to receive web requests")
            yield "http://127.0.0.1:9391"
        finally:
            running.stop()


def asked(address: str, query: str, began: float, ended: float) -> list[dict[str, Any]]:
    """Return what Prometheus has to *query*, a value each few seconds."""
    words = urlencode({"query": query.replace("$__rate_interval", "30s"), "start": began, "end": ended, "step": 5})
    with urlopen(f"{address}/api/v1/query_range?{words}") as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def panels(address: str, began: float, ended: float) -> Iterator[Panel]:
    for panel in json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())["panels"]:
        found = [
            Series(_legend(target, one["metric"]), [(at - began, float(value)) for at, value in one["values"]])
            for target in panel["targets"]
            for one in asked(address, target["expr"], began, ended)
        ]
        yield Panel(panel["title"], panel["fieldConfig"]["defaults"]["unit"], found)


def _legend(target: dict[str, Any], labels: dict[str, str]) -> str:
    text: str = target["legendFormat"]
    for name, value in labels.items():
        text = text.replace("{{" + name + "}}", value)
    return text


async def watch(seconds: float) -> tuple[list[Panel], list[str]]:
    with ExitStack() as stack:
        redis = stack.enter_context(embedded_redis())
        env = {"QRSOCKET_REDIS_URL": redis.url, "CELERY_BROKER_URL": redis.url, "QRSOCKET_LEASE": "10"}
        stack.enter_context(environment(**env))
        nodes = [stack.enter_context(web_node("bench.watched:app", env=env)) for _ in range(2)]
        address = stack.enter_context(prometheus([node.url.removeprefix("http://") for node in nodes]))
        load, began = Load(nodes), time.time()
        jobs = lambda: stack.enter_context(worker("bench.watched:tasks", env, pool="threads"))  # noqa: E731
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(seconds))
            group.create_task(go_wrong(load, redis, jobs, seconds))
        ended = time.time()
        fired = [
            f"{one['metric']['alertname']} {one['values'][0][0] - began:.0f}-{one['values'][-1][0] - began:.0f} s"
            for one in asked(address, 'ALERTS{alertstate="firing"}', began, ended)
        ]
        return [*panels(address, began, ended)], fired


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    minutes: Annotated[float, typer.Option(min=0.5)] = 10.0,
    picture: Annotated[Path | None, typer.Option(help="Where the panels are drawn to, as SVG.")] = None,
) -> None:
    """Print which panels stayed empty, and which alerts fired."""
    seen, fired = asyncio.run(watch(minutes * 60))
    for panel in seen:
        told = "EMPTY" if panel.most is None else f"{len(panel.series)} series, at most {panel.most:.4g}"
        _say(f"{panel.title}: {told}")
    for alert in fired:
        _say(f"alert {alert}")
    if picture is not None:
        picture.write_text(lines(seen))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    app()
