"""
Pictures of the example, to look at: `python -m tests.browser.screenshots [FOLDER]`, a new temporary one by default.

Each moment is taken in light, in dark, and on a telephone.
"""

import re
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from playwright.sync_api import expect

from tests.browser.windows import Example, OpenWindow, Window, chromium, find_chromium, open_windows, running_example
from tests.running import beat

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "telephone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True},
}


def main(folder: Path) -> None:
    path = find_chromium()
    if path is None:
        sys.exit("there is no Chromium to look with: apt-get install chromium")
    with running_example() as example, chromium(path) as browser, open_windows(browser) as open_window:
        take(example, open_window, folder)


def take(example: Example, open_window: OpenWindow, folder: Path) -> None:
    here, there = example.nodes

    def picture(moment: str, windows: dict[str, Window]) -> None:
        for look, window in windows.items():
            window.page.screenshot(path=folder / f"{moment}-{look}.png", full_page=True)

    picture("1-welcome", {look: open_window(here, **options) for look, options in LOOKS.items()})
    ada = {look: open_window(here, "Ada", **options) for look, options in LOOKS.items()}
    picture("2-alone", ada)
    grace = open_window(there, "Grace Hopper")
    open_window(there, "Barbara Liskov")
    ada["light"].say("Shall I import Unicode’s table? 🙂", to="Grace Hopper")
    expect(grace.page.get_by_text("Shall I import")).to_be_visible()
    grace.say("Yes, all of it. I would like to see which rows are rejected, and why.", to="Ada")
    expect(ada["light"].page.get_by_text("Yes, all of it")).to_be_visible()
    ada["light"].page.get_by_role("button", name="Import the sample").click()
    expect(ada["dark"].page.locator("progress")).to_have_attribute("value", re.compile(r"\d\d"))
    picture("3-moving", ada)
    ada["light"].import_file("people.csv", b"first,last\nAda,Lovelace\n")
    with beat({**example.env, "EXAMPLE_SUMMARY_SECONDS": "2"}):
        for window in ada.values():
            expect(window.import_card("people.csv").get_by_text("The first line")).to_be_visible()
            window.page.get_by_text("65 rejected rows").click()
            expect(window.page.locator("#summary")).to_contain_text("characters stored")
    picture("4-done", ada)
    here.kill()
    for window in ada.values():
        expect(window.page.locator("#offline")).to_be_visible()
    picture("5-offline", ada)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else mkdtemp(prefix="qrsocket-screenshots-"))
    main(folder)
    print(folder)
