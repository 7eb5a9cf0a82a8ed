"""The code of docs/jobs.md, run as it stands."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import PATIENCE, Open
from tests.running import ROOT, web_node, worker

CODE = re.findall(r"```python\n# (\S+)\n(.*?)```", (ROOT / "docs" / "jobs.md").read_text(), re.DOTALL)


async def test_the_page(tmp_path: Path, redis_server: EmbeddedRedis, open_client: Open) -> None:
    """
    The job has its title and shows what it lets out of its result; an error for the user is told, and nothing else.
    """
    for name, code in CODE:
        (tmp_path / name).write_text(code)
    env = {"PYTHONPATH": str(tmp_path), "CELERY_BROKER_URL": redis_server.url}
    with worker(env, app="jobs"), web_node(env=env, app="main:app") as node:
        alice = await open_client(f"127.0.0.1:{node.port}", "/socket?user=alice")
        ids = [await asyncio.to_thread(_queue, node.url, rows) for rows in ([1, 2, 3], [])]
        last: dict[str, dict[str, Any]] = {}
        while {"succeeded", "failed"} != {job["state"] for job in last.values()}:
            job = (await alice.receive())["job"]
            last[job["id"]] = job

    good, bad = (last[id] for id in ids)
    assert ("Import", "succeeded", 3, 3, "Reading", 3) == tuple(
        good[name] for name in ("title", "state", "done", "total", "message", "result")
    )
    assert ("failed", "The file is empty") == (bad["state"], bad["error"])
    assert "result" not in bad


def _queue(url: str, rows: list[int]) -> str:
    request = Request(
        f"{url}/socket/imports?user=alice", json.dumps({"rows": rows}).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=PATIENCE) as answer:
        assert 202 == answer.status
        return str(answer.headers["X-Job-Id"])
