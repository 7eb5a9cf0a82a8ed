"""
Pictures of the example, to look at: `python -m tests.browser.screenshots [FOLDER]`, a new temporary one by default.

Each moment is taken in light, in dark, and on a telephone. Those of docs/example.md, too:
`python -m tests.browser.screenshots --docs`.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeAlias

from playwright.sync_api import expect

from tests.browser.windows import (
    CONTENT,
    Example,
    OpenWindow,
    Window,
    chromium,
    find_chromium,
    open_windows,
    running_example,
)
from tests.running import ROOT, beat

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 930}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 930}, "color_scheme": "dark"},
    "telephone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
    "small telephone": {"viewport": {"width": 320, "height": 640}, "is_mobile": True, "has_touch": True},
}
DOCS = {"jobs.png": "light", "jobs-dark.png": "dark", "jobs-telephone.png": "telephone"}
TYPE = "setInterval(() => document.querySelector('#text').dispatchEvent(new Event('input')), 100)"

Take: TypeAlias = Callable[[str, Mapping[str, Window]], None]


def main(take: Take, *, is_all: bool) -> None:
    path = find_chromium()
    if path is None:
        sys.exit("there is no Chromium to look with: apt-get install chromium")
    with (
        running_example(EXAMPLE_WORD_SECONDS="0.4") as example,
        chromium(path) as browser,
        open_windows(browser) as open_window,
    ):
        if is_all:
            take("1-welcome", {look: open_window(example.nodes[0], **options) for look, options in LOOKS.items()})
        ada = {look: open_window(example.nodes[0], "Ada", **options) for look, options in LOOKS.items()}
        show_jobs(example, open_window, ada, take)
        if is_all:
            show_the_rest(example, ada, take)


def show_jobs(example: Example, open_window: OpenWindow, ada: Mapping[str, Window], take: Take) -> None:
    """One import runs, one has ended with rejected rows, one was cancelled; an answer is written; somebody types."""
    window = ada["light"]
    grace, barbara = open_window(example.nodes[1], "Grace Hopper"), open_window(example.nodes[1], "Barbara Liskov")
    window.say("Shall I import Unicode’s table?")
    expect(grace.said("Shall I import")).to_be_visible()
    grace.say("Yes, all of it. I would like to see which rows are rejected, and why.")
    expect(window.said("Yes, all of it")).to_be_visible()
    with example.held(lambda: window.import_file("blocks.csv", CONTENT), rows=8000):
        window.page.get_by_role("button", name="Cancel blocks.csv").click()
        expect(window.card("blocks.csv").get_by_text("Stopping…")).to_be_visible()
    expect(window.card("blocks.csv").get_by_text("Cancelled")).to_be_visible()
    window.import_file("mixed.csv", b"code_point,name,category,direction\nU+0041,A,Lu,L\nU+0000,,Cc,BN\n65,A,Lu,L\n")
    expect(window.card("mixed.csv").get_by_text("Done")).to_be_visible()
    with example.held(lambda: window.import_file("characters.csv", CONTENT), rows=24_000):
        window.say("@bot what are ℵ, → and ☃?")
        for each in ada.values():
            expect(each.card("characters.csv").locator(".words")).to_contain_text("stored")
            each.card("mixed.csv").get_by_text("2 rejected rows").click()
            each.page.locator("#imports").evaluate("card => { card.scrollTop = 0; scrollTo(0, 0); }")
            each.page.mouse.move(0, 0)
            expect(each.said("RIGHTWARDS")).to_be_visible()
        barbara.page.evaluate(TYPE)
        for each in ada.values():
            expect(each.page.get_by_text("Barbara Liskov is typing")).to_be_visible()
        take("2-jobs", ada)


def show_the_rest(example: Example, ada: Mapping[str, Window], take: Take) -> None:
    with example.held(lambda: ada["light"].import_file("held.csv", CONTENT)):
        for number in range(6):
            ada["light"].import_file(f"waiting {number} {'x' * 60}.csv", CONTENT)
        for window in ada.values():
            expect(window.page.get_by_text("Waiting: 2 before it")).to_be_visible()
        take("3-waiting", ada)
    ada["light"].import_file("people.csv", b"first,last\nAda,Lovelace\n")
    with beat({**example.env, "EXAMPLE_SUMMARY_SECONDS": "2"}):
        for window in ada.values():
            expect(window.card("people.csv").get_by_text("The first line")).to_be_visible()
            expect(window.page.locator("#summary")).to_contain_text("characters stored")
    take("4-refused", ada)
    example.nodes[0].kill()
    for window in ada.values():
        expect(window.page.locator("#offline")).to_be_visible()
    take("5-offline", ada)


def take_all(folder: Path) -> Take:
    def take(moment: str, windows: Mapping[str, Window]) -> None:
        for look, window in windows.items():
            window.page.screenshot(path=folder / f"{moment}-{look}.png", full_page=True)

    return take


def take_for_docs(_moment: str, windows: Mapping[str, Window]) -> None:
    for name, look in DOCS.items():
        windows[look].page.screenshot(path=ROOT / "docs" / "img" / name)


if __name__ == "__main__":
    if sys.argv[1:] == ["--docs"]:
        main(take_for_docs, is_all=False)
    else:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else mkdtemp(prefix="qrsocket-screenshots-"))
        main(take_all(folder), is_all=True)
        print(folder)
