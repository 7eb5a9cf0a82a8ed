"""The example as its users meet it: two web nodes and a worker, as processes, and windows of Chromium to look at it."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from playwright.sync_api import Browser, Locator, Page, WebSocket, expect, sync_playwright

from qrsocket.embedded_redis import embedded_redis
from tests.running import Env, WebNode, web_node, worker

MS = 0.001
# How long a page may take to show what must come: generous, since nobody waits for it while all is well.
PATIENCE = 20_000 * MS

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# All values that a progress bar takes, since a test that looks now and then would miss some.
WATCH_BARS = """
    window.moves = [];
    new MutationObserver(changes => moves.push(...changes.map(change => change.target.value)))
        .observe(document, { subtree: true, attributes: true, attributeFilter: ["value"] });
"""


@dataclass(frozen=True)
class Example:
    """
    Attributes:
        env: What a further process needs to be one of it.
    """

    nodes: tuple[WebNode, WebNode]
    env: Env


@dataclass
class Window:
    """
    A window of a browser profile of its own, so that two of them may be of two users, or two devices of one.

    Attributes:
        frames: What its socket has received.
        requests: Addresses that it has asked for.
        problems: What the browser complained of: scripts that failed, files that the page's policy forbids.
    """

    page: Page
    frames: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def sign_in(self, name: str) -> None:
        self.page.get_by_label("Your name").fill(name)
        self.page.get_by_role("button", name="Sign in").click()
        self.expect_live()

    def expect_live(self) -> None:
        expect(self.page.locator("#connection")).to_have_text("Live")

    def person(self, name: str) -> Locator:
        """Return the box to choose somebody who is online."""
        return self.page.get_by_role("checkbox", name=name, exact=True)

    def say(self, text: str, *, to: str) -> None:
        """Write to somebody, besides those who are chosen already, with the keyboard alone."""
        if not self.person(to).is_checked():
            self.person(to).press("Space")
        self.page.get_by_role("textbox", name="Message").fill(text)
        self.page.get_by_role("textbox", name="Message").press("Enter")

    def import_file(self, name: str, content: bytes) -> None:
        self.page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": content})

    def import_card(self, name: str) -> Locator:
        return self.page.locator(".import").filter(has_text=name)

    def moves(self) -> list[float]:
        """Return all values that its progress bars have taken."""
        values: list[float] = self.page.evaluate("moves")
        return values

    def received(self, word: str) -> list[Any]:
        """Return what the messages with *word* said."""
        return [frame[word] for frame in self.frames if word in frame]

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda payload: self.frames.append(json.loads(payload)))


OpenWindow: TypeAlias = Callable[..., Window]


def find_chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        expect.set_options(timeout=PATIENCE / MS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def running_example(**settings: str) -> Iterator[Example]:
    """Run Redis, two web nodes and a worker. A user who is gone for a second has left."""
    with ExitStack() as stack:
        server = stack.enter_context(embedded_redis())
        folder = stack.enter_context(TemporaryDirectory(prefix="qrsocket-example-"))
        env = {
            "CELERY_BROKER_URL": server.url,
            "EXAMPLE_DATA": str(Path(folder)),
            "QRSOCKET_OFFLINE_GRACE": "1",
            "QRSOCKET_REDIS_URL": server.url,
            **settings,
        }
        stack.enter_context(worker(env))
        nodes = (stack.enter_context(web_node(env=env)), stack.enter_context(web_node(env=env)))
        yield Example(nodes, env)


@contextmanager
def open_windows(browser: Browser) -> Iterator[OpenWindow]:
    """Open windows, until the block ends: `window = open_window(node, "Ada")`, signed in as Ada."""
    with ExitStack() as stack:

        def open_window(node: WebNode, name: str | None = None, **options: Any) -> Window:
            context = stack.enter_context(browser.new_context(**options))
            context.set_default_timeout(PATIENCE / MS)
            context.add_init_script(WATCH_BARS)
            window = Window(context.new_page())
            window.page.on("websocket", window._listen)
            window.page.on("request", lambda request: window.requests.append(request.url))
            window.page.on("pageerror", lambda error: window.problems.append(str(error)))
            window.page.on("console", lambda told: window.problems.append(told.text) if told.type == "error" else None)
            window.page.goto(node.url)
            if name is not None:
                window.sign_in(name)
            return window

        yield open_window
