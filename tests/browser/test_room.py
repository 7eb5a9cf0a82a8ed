"""The room of the README, as it stands, in two browsers."""

import re
from collections import deque
from pathlib import Path

from playwright.sync_api import Browser, Page

from qrsocket.embedded_redis import embedded_redis
from tests.browser.windows import PATIENCE
from tests.running import ROOT, web_node, worker

README = (ROOT / "README.md").read_text()
ROOM = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if block.startswith("# room.py\n"))
SCRIPT = next(block for block in re.findall(r"```js\n(.*?)```", README, re.DOTALL) if "socket.topic" in block)


def test_the_room(browser: Browser, tmp_path: Path) -> None:
    """
    What one says comes to the other, and what the job says to both; a page that was away gets what it missed.
    """
    (tmp_path / "room.py").write_text(ROOM)
    with embedded_redis() as redis:
        env = {"PYTHONPATH": str(tmp_path), "QRSOCKET_REDIS_URL": redis.url, "CELERY_BROKER_URL": redis.url}
        with worker(env, app="room:tasks"), web_node(env=env, app="room:app") as node:
            alice, bob = Console(browser, f"{node.url}/openapi.json"), Console(browser, f"{node.url}/openapi.json")
            bob.run("bob")
            assert "here: [bob]" == bob.next()
            assert "{from: the job, text: HELLO!}" == bob.next()

            alice.run("alice")

            assert "here: [alice, bob]" == alice.next()
            assert "{from: the job, text: HELLO!}" == alice.next()
            told = {bob.next() for _ in range(3)}
            assert {"here: [alice, bob]", "{text: Hello!}", "{from: the job, text: HELLO!}"} == told
            alice.page.close()
            assert "here: [bob]" == bob.next()


def test_the_room_is_short() -> None:
    """
    It is at most 20 lines of Python and 6 of JavaScript.
    """
    assert 20 >= len([line for line in ROOM.splitlines()[1:] if line])
    assert 6 >= len(SCRIPT.splitlines())


class Console:
    """A page of its own, and what it writes to its console."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.page: Page = browser.new_context().new_page()
        self._lines: deque[str] = deque()
        self.page.on("console", lambda told: self._lines.append(told.text) if told.type == "log" else None)
        self.page.goto(url)

    def run(self, user: str) -> None:
        """Run the script of the README as *user*."""
        self.page.evaluate(f"async () => {{ {SCRIPT.replace('alice', user)} }}")

    def next(self) -> str:
        """Return the next line. Playwright hears of it in this thread, while it waits for one."""
        while not self._lines:
            self.page.wait_for_event("console", timeout=1000 * PATIENCE)
        return self._lines.popleft()
