"""The console, as those who run an application meet it."""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from qrsocket.embedded_redis import embedded_redis
from tests.browser.windows import PATIENCE
from tests.running import WebNode, web_node, worker

ODD = "<i>eve</i>"


@pytest.fixture(scope="module")
def node(browser: Browser) -> Iterator[WebNode]:
    with embedded_redis() as redis:
        env = {"QRSOCKET_REDIS_URL": redis.url, "CELERY_BROKER_URL": redis.url, "QRSOCKET_TRAIL_SECONDS": "60"}
        with worker(env, app="tests.browser.console:tasks"), web_node(env=env, app="tests.browser.console:app") as node:
            yield node


class Console:
    """
    The console in a window of its own.

    Attributes:
        problems: What the browser complained of.
    """

    def __init__(self, browser: Browser, node: WebNode, user: str, path: str = "/socket/console", **looks: Any) -> None:
        self.page: Page = browser.new_context(**looks).new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda told: self.problems.append(told.text) if told.type == "error" else None)
        self.page.goto(f"{node.url}{path}?user={user}")
        expect(self.page.locator("#live")).to_have_text("Live")

    def row(self, table: str, text: str) -> Any:
        return self.page.locator(f"#{table} tbody tr").filter(has_text=text)

    def send(self, user: str, message: str) -> None:
        """Send a test message with the keyboard alone."""
        self.page.get_by_label("User", exact=True).fill(user)
        self.page.get_by_label("Message, JSON or text").fill(message)
        self.page.keyboard.press("Tab")
        self.page.keyboard.press("Enter")


def queue(node: WebNode, path: str, user: str) -> str:
    """Queue a job, and return its id."""
    answer = httpx2.post(f"{node.url}/socket{path}", params={"user": user}, json={"text": "to be"}, timeout=PATIENCE)
    assert 202 == answer.status_code, answer.text
    return str(answer.json()["id"])


def findings(page: Page, axe: str) -> list[str]:
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { preload: false })")
    return [f"{each['id']}: {node['html'][:200]}" for each in found["violations"] for node in each["nodes"]]


def test_who_opens_it_sees_himself(browser: Browser, node: WebNode) -> None:
    """
    The page shows its own connection, the node that holds it, the worker, and who is online.
    """
    console = Console(browser, node, "alice")
    name = httpx2.get(f"{node.url}/socket/ready").json()["node"]

    own = console.page.locator("#own")
    expect(own).to_contain_text("User" + "alice")
    expect(own).to_contain_text(f"Node{name}")
    assert re.search(r"Id[0-9a-f]{32}", own.text_content() or "")
    expect(console.row("nodes", name)).to_contain_text("0 B")
    expect(console.row("workers", "celery")).to_contain_text("prefork, 2 at once")
    expect(console.row("online", "alice")).to_be_visible()
    expect(console.row("schedules", "nightly")).to_contain_text("tests.browser.console.wait" + "every 86400 s")
    assert [] == console.problems


def test_a_test_message(browser: Browser, node: WebNode) -> None:
    """
    What is sent to oneself is seen to arrive; of somebody who is away it is said; a text goes as a text. What became of
    it is said beside it, and what became of a user's messages, when asked for.
    """
    console = Console(browser, node, "bob")
    expect(console.page.locator("#own")).to_contain_text("open")
    console.send("bob", '{"hello":  "world"}')
    expect(console.page.locator("#sent")).to_have_text("Sent to 1 connection on 1 node")
    expect(console.page.locator("#inbox")).to_contain_text('{"hello":"world"}')
    console.send("bob", "<b>see you</b>")
    expect(console.page.locator("#inbox li").first).to_contain_text("<b>see you</b>")
    expect(console.page.locator("#trail")).to_contain_text("written to ")
    expect(console.page.locator("#verdict")).to_have_text("written to 1")
    console.send("nobody", "hi")

    expect(console.page.locator("#sent")).to_have_text("nobody is offline")
    expect(console.page.locator("#verdict")).to_have_text("nobody was connected; who comes back in time gets it")
    console.page.get_by_label("Of", exact=True).select_option("the user")
    console.page.get_by_label("Id of the message or the user").fill("bob")
    expect(console.page.locator("#trail")).to_contain_text("connected")
    console.page.get_by_label("Id of the message or the user").fill("whoever")
    expect(console.page.locator("#verdict")).to_contain_text("Nothing is known of it")
    assert [] == console.problems


def test_payloads_are_not_shown_unless_asked_for(browser: Browser, node: WebNode) -> None:
    """
    A console without `shows_payloads` says that a message came, and the task of a job in place of its title. It lies
    deeper below its router, and finds its files.
    """
    queue(node, "/count", "shy-one")
    console = Console(browser, node, "shy-one", "/shy/for/admins")
    expect(console.page.locator("#own")).to_contain_text("open")
    console.send("shy-one", '"secret"')

    expect(console.page.locator("#inbox")).to_contain_text("a message")
    expect(console.row("jobs", "shy-one")).to_contain_text("tests.browser.console.count_words")
    assert "secret" not in (console.page.locator("#inbox").text_content() or "")
    assert [] == console.problems


def test_jobs(browser: Browser, node: WebNode) -> None:
    """
    Jobs are shown with their timeline; one that waits where nobody works is what is wrong, and can be cancelled, with
    the keyboard.
    """
    console = Console(browser, node, "carol")
    done, waiting = queue(node, "/count", ODD), queue(node, "/wait", "carol")
    expect(console.row("jobs", done)).to_contain_text(re.compile(r"queued .* → started after .* → succeeded after"))
    expect(console.row("jobs", done)).to_contain_text(f"{ODD}succeeded")
    expect(console.page.locator("#troubles")).to_contain_text("queue mistyped has no worker: 1 waiting")
    expect(console.row("queues", "mistyped")).to_contain_text("nobody consumes it")
    cancel = console.row("jobs", waiting).get_by_role("button", name="Cancel tests.browser.console.wait of carol")
    cancel.focus()
    with console.page.expect_response(re.compile("/state")):  # shown anew, the focus stays
        pass
    expect(cancel).to_be_focused()
    console.page.keyboard.press("Enter")

    expect(console.row("jobs", waiting)).to_contain_text("cancelled")
    expect(console.page.locator("#said")).to_have_text("The job is cancelled")
    expect(console.page.locator("#troubles li")).to_have_count(0)
    console.page.get_by_label("State").select_option("cancelled")
    expect(console.row("jobs", done)).to_have_count(0)
    expect(console.row("jobs", waiting)).to_have_count(1)
    assert [] == console.problems


def test_closing_connections(browser: Browser, node: WebNode) -> None:
    """
    All connections of a user are closed once that was confirmed.
    """
    dave, console = Console(browser, node, "dave"), Console(browser, node, "erin")
    close = console.row("online", "dave").get_by_role("button")
    console.page.once("dialog", lambda dialog: dialog.dismiss())
    close.click()
    expect(dave.page.locator("#own")).to_contain_text("open")
    console.page.once("dialog", lambda dialog: dialog.accept())
    close.click()

    expect(console.page.locator("#said")).to_have_text("1 connection of dave closed")
    expect(dave.page.locator("#own")).to_contain_text("closed, 4101")


def test_who_is_no_user(browser: Browser, node: WebNode) -> None:
    """
    Whom `on_connect` refuses sees everything all the same, and why there is no connection.
    """
    page = browser.new_context().new_page()
    page.goto(f"{node.url}/socket/console")

    expect(page.locator("#own")).to_contain_text("offline, 1006: refused, or the server is away")
    expect(page.locator("#refusals tbody tr").first).to_contain_text(re.compile("handshake 4"))
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator("#workers tbody tr")).to_have_count(1)


def test_when_the_server_is_away(browser: Browser, node: WebNode) -> None:
    """
    It says so, keeps what it knows, and goes on when it is back.
    """
    console = Console(browser, node, "frank")
    expect(console.row("online", "frank")).to_be_visible()
    console.page.route("**/state*", lambda route: route.fulfill(status=503, json={"detail": "Try again later"}))
    expect(console.page.locator("#live")).to_have_text("Not live: Try again later")
    assert console.row("nodes", "").count()
    console.page.unroute("**/state*")

    expect(console.page.locator("#live")).to_have_text("Live")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(browser: Browser, node: WebNode, axe: str, scheme: str) -> None:
    """
    axe finds nothing to complain of, in light, in dark and on telephones, where nothing is wider than the screen.
    """
    queue(node, "/count", "grace")
    queue(node, "/wait", "a-user-with-a-very-long-name-" * 4)
    console = Console(browser, node, "grace", color_scheme=scheme)
    expect(console.row("jobs", "waiting").first).to_be_visible()
    expect(console.row("online", "grace")).to_be_visible()
    console.send("grace", "hi")
    expect(console.page.locator("#inbox li").first).to_be_visible()

    for width in (1280, 390, 320):
        console.page.set_viewport_size({"width": width, "height": 800})
        assert [] == findings(console.page, axe)
        assert width >= console.page.evaluate("document.documentElement.scrollWidth")
    assert [] == console.problems
