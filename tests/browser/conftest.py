"""One example and one Chromium for this folder, windows for each test."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.windows import Example, OpenWindow, chromium, find_chromium, open_windows, running_example
from tests.browser_client.packages import HERE, install


# Not for the session: while it is open, Playwright runs an event loop in this thread, and async tests could not.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        reason = "there is no Chromium to look with: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with chromium(path) as browser:
        yield browser


@pytest.fixture(scope="package")
def example(browser: Browser) -> Iterator[Example]:
    with running_example() as example:
        yield example


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe, which looks for what keeps people from using a page."""
    install()
    return (HERE / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
def open_window(browser: Browser) -> Iterator[OpenWindow]:
    with open_windows(browser) as open_window:
        yield open_window
