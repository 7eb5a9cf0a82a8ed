"""The example as its users meet it: two web nodes and a worker, as processes, and windows of Chromium to look at it."""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from playwright.sync_api import Browser, Locator, Page, WebSocket, expect, sync_playwright
from redis import Redis

from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from tests.conftest import MS
from tests.running import Env, Running, WebNode, web_node, worker
from worker.sample import read_sample
from worker.store import SCHEMA

# How long a page may take to show what must come: generous, since nobody waits for it while all is well.
PATIENCE = 60_000 * MS

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# A file whose import takes long enough to be held half-way.
ROWS = 40_000
CONTENT = "".join(islice("".join(read_sample()).splitlines(keepends=True), ROWS + 1)).encode()
# Five characters whose names are so long that an answer about "qrs" takes seconds.
LONG_NAMES = (
    "code_point,name,category,direction\n" + "".join(f"U+{0x2190 + n:04X},{'QRS ' * 25}{n},Sm,ON\n" for n in range(5))
).encode()
# All that cards of jobs and answers have shown, since a test that looks now and then would miss some.
WATCH = """
    window.shown = [];
    window.written = [];
    window.typing = [];
    const options = { subtree: true, childList: true, attributes: true, attributeFilter: ["value", "data-state"] };
    new MutationObserver(() => {
        for (const card of document.querySelectorAll(".job")) {
            const [title, words] = [".title", ".words"].map(part => card.querySelector(part).textContent);
            const now = { title, words, state: card.dataset.state, percent: card.querySelector("progress").value };
            if (JSON.stringify(now) !== card.last) shown.push(now);
            card.last = JSON.stringify(now);
        }
        for (const { textContent } of document.querySelectorAll(".bot .text")) {
            if (!written.includes(textContent)) written.push(textContent);
        }
        const words = document.querySelector("#typing")?.textContent;
        if (words && words !== typing.at(-1)) typing.push(words);
    }).observe(document, options);
"""


@dataclass(frozen=True)
class Example:
    """
    Attributes:
        env: What a further process needs to be one of it.
        workers: One each, of one process, so that a job that is held holds nobody else's.
    """

    nodes: tuple[WebNode, WebNode]
    workers: tuple[Running, Running]
    env: Env

    @property
    def folder(self) -> Path:
        return Path(self.env["EXAMPLE_DATA"])

    @property
    def uploads(self) -> list[str]:
        return [path.name for path in (self.folder / "uploads").iterdir()]

    @contextmanager
    def held(self, start: Callable[[], object], rows: int = 1) -> Iterator[None]:
        """
        Start an import into an empty table, and hold it half-way until the block ends: by a lock on the table, taken as
        soon as so many rows are stored.
        """
        self.wait_until_idle()  # rows of a job of the test before would be taken for this one's
        with self._table() as table:
            table.execute("DELETE FROM characters")
        start()
        while self.stored() < rows:
            pass
        with self._table() as table:
            table.execute("BEGIN IMMEDIATE")
            yield

    def wait_until_idle(self) -> None:
        """Wait until all jobs have ended."""
        deadline = time.monotonic() + PATIENCE
        with Redis.from_url(self.env["QRSOCKET_REDIS_URL"]) as redis:
            while left := redis.zrange("qrsocket:app:{q0}:due", 0, -1):
                assert time.monotonic() < deadline, f"jobs have not ended: {left}"

    def stored(self) -> int:
        with self._table() as table:
            (rows,) = table.execute("SELECT count(*) FROM characters").fetchone()
            return int(rows)

    def worker_of(self, job: str) -> Running:
        """Return the one that was given the job with this id first."""
        return next(worker for worker in self.workers if any(job in line for line in worker.log))

    @contextmanager
    def _table(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.folder / "characters.sqlite", timeout=PATIENCE)) as table, table:
            table.execute(SCHEMA)
            yield table


@dataclass
class Window:
    """
    A window of a browser profile of its own, so that two of them may be of two users, or two devices of one.

    Attributes:
        frames: What its socket has received: messages, and what is told of jobs, but for answers to its requests.
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
        self.expect_in_the_room(name)

    def expect_live(self) -> None:
        expect(self.page.locator("#connection")).to_have_text("Live")

    def expect_in_the_room(self, name: str) -> None:
        """Wait until it has joined: what is not kept it would have missed before."""
        self.expect_live()
        expect(self.person(f"{name} (you)")).to_be_visible()

    def person(self, name: str) -> Locator:
        """Return the chip of somebody who is in the room."""
        return self.page.get_by_role("list", name="In the room now").get_by_text(name, exact=True)

    def say(self, text: str) -> None:
        """Say it to the room, with the keyboard alone."""
        self.page.get_by_role("textbox", name="Message").fill(text)
        self.page.get_by_role("textbox", name="Message").press("Enter")

    def said(self, text: str) -> Locator:
        """Return what was said, with who said it and what became of it."""
        return self.page.get_by_role("log").get_by_role("listitem").filter(has_text=text)

    def import_file(self, name: str, content: bytes) -> None:
        self.page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": content})

    def card(self, name: str) -> Locator:
        return self.page.locator(".job").filter(has_text=name)

    def shown(self, title: str) -> list[dict[str, Any]]:
        """Return what its cards have shown since it was loaded: title, state, percent, words."""
        cards: list[dict[str, Any]] = self.page.evaluate("shown")
        return [card for card in cards if card["title"] == title]

    def words(self, title: str) -> list[str]:
        return [card["words"] for card in self.shown(title)]

    def states(self, title: str) -> list[str]:
        return [state for state, _ in groupby(card["state"] for card in self.shown(title))]

    def texts(self) -> list[str]:
        """Return what it shows of what was said."""
        return self.page.locator("#messages .text").all_text_contents()

    def shown_typing(self) -> list[str]:
        """Return what it has told of who is typing since it was loaded."""
        words: list[str] = self.page.evaluate("typing")
        return words

    def written(self) -> list[str]:
        """Return what it has shown of answers since it was loaded, as they grew."""
        texts: list[str] = self.page.evaluate("written")
        return texts

    def percent(self, title: str) -> list[float]:
        """Return the values that its bar has taken since the job began."""
        return [card["percent"] for card in self.shown(title) if card["state"] in ("started", "succeeded")]

    def received(self, word: str) -> list[Any]:
        """Return what the messages with *word* said."""
        return [frame[word] for frame in self.frames if word in frame]

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._hear)

    def _hear(self, frame: str | bytes) -> None:
        header, _, body = (frame if isinstance(frame, str) else frame.decode()).partition("\n")
        if (not header.startswith("!") or header.startswith("!job")) and " r=" not in header:
            self.frames.append(json.loads(body))


OpenWindow: TypeAlias = Callable[..., Window]


def find_chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        expect.set_options(timeout=1000 * PATIENCE)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def running_example(redis: EmbeddedRedis | None = None, **settings: str) -> Iterator[Example]:
    """
    Run two web nodes, two workers and, unless one is given, Redis. A user who is gone for a few seconds has left.

    Args:
        settings: Environment variables.
    """
    with ExitStack() as stack:
        server = redis or stack.enter_context(embedded_redis())
        folder = stack.enter_context(TemporaryDirectory(prefix="qrsocket-example-"))
        env = {
            "CELERY_BROKER_URL": server.url,
            "EXAMPLE_DATA": folder,
            "QRSOCKET_OFFLINE_GRACE": str(3_000 * MS),
            "QRSOCKET_REDIS_URL": server.url,
            **settings,
        }
        with ThreadPoolExecutor() as together:
            starting = web_node(env=env), web_node(env=env), one_job(env), one_job(env)
            one, other, first, second = together.map(stack.enter_context, starting)
        yield Example((one, other), (first, second), env)
        for process in (one, other, first, second):  # an orderly end takes seconds
            if process.process.poll() is None:
                process.kill()


def one_job(env: Env) -> AbstractContextManager[Running]:
    """Run a worker that runs one job at a time."""
    return worker(env, concurrency=1)


@contextmanager
def open_windows(browser: Browser) -> Iterator[OpenWindow]:
    """Open windows, until the block ends: `window = open_window(node, "Ada")`, signed in as Ada."""
    with ExitStack() as stack:

        def open_window(node: WebNode, name: str | None = None, **options: Any) -> Window:
            context = stack.enter_context(browser.new_context(**options))
            context.set_default_timeout(1000 * PATIENCE)
            context.add_init_script(WATCH)
            window = Window(context.new_page())
            window.page.on("websocket", window._listen)
            window.page.on("request", lambda request: window.requests.append(request.url))
            window.page.on("pageerror", lambda error: window.problems.append(str(error)))
            window.page.on("console", lambda told: window.problems.append(told.text) if told.type == "error" else None)
            if name is not None:
                context.request.post(f"{node.url}/sign-in", data={"name": name})
            window.page.goto(node.url)
            if name is not None:
                window.expect_in_the_room(name)
            return window

        yield open_window
