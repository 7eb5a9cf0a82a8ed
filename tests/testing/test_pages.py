"""docs/topics.md and docs/messages.md, run as they stand."""

import re
from pathlib import Path

from tests.testing.suites import run

DOCS = Path(__file__).parent.parent.parent / "docs"

REQUESTS = """
from main import app
from sending import tell
from joining import in_a_handler, invite
from qrsocket import socket
from qrsocket.testing import client


async def test_messages(qrsocket_redis: object) -> None:
    async with client(app, query={"user": "ada"}) as ada, client(app, query={"user": "ada"}) as second:
        assert {"hits": ["A"]} == await ada.request({"do": "search", "q": "a"})
        assert await ada.request({"do": "point", "at": "1,1"}) is None
        assert {"at": "1,1"} == await second.receives()
        await ada.receives_nothing()


async def test_tokens(qrsocket_redis: object) -> None:
    import time
    import jwt
    from tokens import authenticate

    token = jwt.encode({"sub": "ada", "exp": time.time() + 60}, "…" * 32, algorithm="HS256")
    user = await authenticate(token)
    assert "ada" == user.id and user.expires_at > time.time()


async def test_sending(qrsocket_redis: object) -> None:
    async with client(app, query={"user": "ada"}) as ada:
        await invite(["ada"])
        await socket.to("ada").join("room:7")
        topic = ada.topic("room:7")
        async with __import__("asyncio").timeout(5):
            while not topic.is_joined:
                await ada.receives_nothing()
        await tell(7)
        assert {"text": "to all that have joined"} == await topic.receives()
        assert {"text": "to all but the connection that this code runs for"} == await topic.receives()
        assert {"typing": "ada"} == await topic.receives()
        assert {"text": "to every open connection"} == await ada.receives()
        assert in_a_handler
"""


def blocks(page: str) -> dict[str, str]:
    text = (DOCS / page).read_text()
    found = {block[2 : block.index("\n")]: block for block in re.findall(r"```python\n(# .*?)```", text, re.DOTALL)}
    assert len(found) == text.count("```python")
    return found


def test_topics(tmp_path: Path) -> None:
    """
    The application of docs/topics.md passes the test that stands beside it.
    """
    files = blocks("topics.md")
    assert {"main.py", "sending.py", "joining.py", "test_room.py"} == files.keys()

    output = run(tmp_path, files)

    assert "1 passed" in output, output
    assert "warning" not in output.lower(), output


def test_messages(tmp_path: Path) -> None:
    """
    What docs/messages.md says is so, of its own application and of how docs/topics.md sends.
    """
    files = blocks("messages.md")
    assert {"main.py", "tokens.py"} == files.keys()
    pages = {name: text for name, text in blocks("topics.md").items() if name in ("sending.py", "joining.py")}

    output = run(tmp_path, {**files, **pages, "test_messages.py": REQUESTS})

    assert "3 passed" in output, output


CONSOLE = """
from main import app
from qrsocket.testing import client


async def test_console(qrsocket_redis: object) -> None:
    async with client(app, query={"user": "ada"}) as ada:
        refused = await ada.http.get("/socket/console")
        page = await ada.http.get("/socket/console", auth=("admin", "sesame"))
        state = await ada.http.get("/socket/console/state", auth=("admin", "sesame"))
        message = {"user": "ada", "message": "hi"}
        sent = await ada.http.post("/socket/console/send", json=message, auth=("admin", "sesame"))
        assert "hi" == await ada.receives()
    assert (401, 200, 200) == (refused.status_code, page.status_code, sent.status_code)
    assert ["ada"] == state.json()["status"]["some_users"]
"""


def test_console(tmp_path: Path) -> None:
    """
    What docs/console.md says is so.
    """
    files = blocks("console.md")
    assert {"main.py"} == files.keys()

    output = run(tmp_path, {**files, "test_console.py": CONSOLE})

    assert "1 passed" in output, output


METRICS = """
import alarm
import jobs
from main import app
from qrsocket import socket
from qrsocket.testing import client


async def test_metrics(qrsocket_redis: object) -> None:
    async with client(app) as page:
        await socket.everyone.send("hi")
        assert "hi" == await page.receives()
        refused = await page.http.get("/socket/metrics")
        read = await page.http.get("/socket/metrics", headers={"Authorization": "Bearer sesame"})
    assert (401, 200) == (refused.status_code, read.status_code)
    assert 'qrsocket_messages_sent_total{kind="text",outcome="routed"} 1.0' in read.text
    assert 'qrsocket_connections{protocol="qrsocket.v1"} 1.0' in read.text
    assert alarm
    assert jobs.on_start
"""


def test_metrics(tmp_path: Path) -> None:
    """
    What docs/metrics.md says is so.
    """
    files = blocks("metrics.md")
    assert {"main.py", "alarm.py", "jobs.py"} == files.keys()

    output = run(tmp_path, {**files, "test_metrics.py": METRICS})

    assert "1 passed" in output, output
