"""docs/traces.md, run as it stands."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.collector import collecting
from tests.conftest import until
from tests.testing.suites import end, start
from tests.testing.test_pages import DOCS, blocks
from tests.tools.installed import need

need("opentelemetry-exporter-otlp-proto-http")

from tests.spans import spans_of  # noqa: E402 - needs it

TRACES = """
from pathlib import Path
from main import app
from qrsocket.testing import client, web_node


async def test_traces(qrsocket_redis: object, qrsocket_worker) -> None:
    qrsocket_worker("main:tasks")
    ada = {"user": "ada"}
    with web_node("main:app") as node:
        async with client(app, query=ada) as here, client(node.url, query=ada) as there:
            await here.http.post("/greet", params=ada)
            assert "Hello!" == await here.receives() == await there.receives()
            while not Path("told").exists():
                await here.receives_nothing()
"""


async def test_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The application of docs/traces.md has the trace that is drawn beside it.
    """
    files = blocks("traces.md")
    assert {"main.py"} == files.keys()
    drawn = re.search(r"```text\n(.*?)```", (DOCS / "traces.md").read_text(), re.DOTALL)
    assert drawn is not None
    names = [re.split("  +", line.lstrip(" └├─"))[0] for line in drawn[1].splitlines()]

    def told() -> Counter[str]:
        # FastAPI's spans of its own steps are left out of the picture.
        spans = spans_of(collector)
        trace = next((span.trace_id for span in spans if span.name == names[0]), None)
        return Counter(span.name for span in spans if span.trace_id == trace and not span.name.startswith("fastapi."))

    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        suite = start(tmp_path, {**files, "test_traces.py": TRACES})
        try:
            await until(lambda: suite.poll() is not None or told().total() >= len(names))
        finally:
            (tmp_path / "told").touch()
            output = end(suite)

    assert "1 passed" in output, output
    assert Counter(names) == told()
