"""docs/logs.md, run as it stands: as people read it, and as JSON."""

import json
import re
from pathlib import Path

import pytest
from httpx2 import AsyncClient

from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import Open
from tests.running import ROOT, serve, worker
from tests.testing.test_pages import blocks

LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:]+,\d{3} (DEBUG|INFO|WARNING|ERROR) +([\w.]+): (.*)")


async def use(address: str, open_client: Open) -> None:
    """Queue a job, of which a page is told."""
    alice = await open_client(address, "/socket?user=alice")
    async with AsyncClient(base_url=f"http://{address}") as http:
        await http.post("/socket/count?user=alice", json={"text": "to be or not to be"})
    while (await alice.receive())["job"]["state"] != "succeeded":
        pass


@pytest.mark.parametrize("is_json", [False, True], ids=["text", "JSON"])
async def test_a_node_and_a_worker(
    redis_server: EmbeddedRedis, open_client: Open, tmp_path: Path, is_json: bool
) -> None:
    """
    All lines have the form that the page sets up, those of uvicorn and of Celery, too; with JSON, facts are fields.
    """
    files = blocks("logs.md")
    assert {"log_config.py", "main.py", "json_lines.py"} == files.keys()
    if is_json:
        files["main.py"] = f"import json_lines\n{files['main.py']}"
    files["log_config.py"] = files["log_config.py"].replace(
        '"qrsocket": {**TO_ROOT, "level": "INFO"}', '"qrsocket": {**TO_ROOT, "level": "DEBUG"}'
    )
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    environment = {
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "CELERY_BROKER_URL": redis_server.url,
        "CELERY_RESULT_BACKEND": redis_server.url,
    }
    with (
        worker(environment, app="main:tasks", pool="threads") as jobs,
        serve("main:app", "--app-dir", str(tmp_path), env=environment) as node,
    ):
        await use(f"127.0.0.1:{node.port}", open_client)
        jobs.wait_for("succeeded in")

    if is_json:
        lines = [json.loads(line) for line in (*node.log, *jobs.log) if line.startswith("{")]
        assert all({"asctime", "levelname", "name", "message"} <= line.keys() for line in lines)
        assert {"uvicorn.access", "uvicorn.error", "celery.app.trace"} <= {line["name"] for line in lines}
        told = [line for line in lines if line["message"].startswith("job changed")]
        assert {("alice", "main.count_words", state) for state in ("started", "succeeded")} <= {
            (line["user"], line["task"], line["state"]) for line in told
        }
        assert 1 == len({line["job"] for line in told})
    else:
        found = [match for line in (*node.log, *jobs.log) if (match := LINE.fullmatch(line))]
        assert {"uvicorn.access", "uvicorn.error", "celery.app.trace"} <= {match[2] for match in found}
        assert [match[3] for match in found if "task main.count_words, user alice, state succeeded" in match[3]]
    served = [line for line in node.log if "Uvicorn running on" in line]
    assert 1 == len(served), served
