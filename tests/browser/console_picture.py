"""The picture of docs/console.md, of the example in `qrsocket dev`: `python -m tests.browser.console_picture`."""

import re
import sys
from tempfile import TemporaryDirectory

from playwright.sync_api import expect

from tests.browser.windows import CONTENT, chromium, find_chromium
from tests.running import QRSOCKET, ROOT, Running

DEV = [QRSOCKET, "dev", "api.main:app", "--celery", "worker.app:app", "--nodes", "2", "--port", "0", "--no-reload"]


def main(file: str) -> None:
    path = find_chromium()
    if path is None:
        sys.exit("there is no Chromium to look with: apt-get install chromium")
    with TemporaryDirectory(prefix="qrsocket-example-") as folder, chromium(path) as browser:
        dev = Running("dev", DEV, {"EXAMPLE_DATA": folder})
        try:
            console = dev.wait_for(r"the console is at (\S+)")[1]
            url = dev.wait_for(r"\| open (\S+)")[1]
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            context.request.post(f"{url}/sign-in", data={"name": "Ada"})
            page = context.new_page()
            page.goto(url)
            for name, content in (("lacks.csv", b"first,last\nAda,Lovelace\n"), ("characters.csv", CONTENT)):
                page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": content})
            page = context.new_page()
            page.goto(console)
            expect(page.locator("#own")).to_contain_text(re.compile("Node.*web"))
            page.get_by_label("User", exact=True).fill("Ada")
            page.get_by_role("button", name="Send").click()
            expect(page.locator("#inbox")).to_contain_text("hello")
            expect(page.locator("#jobs tbody")).to_contain_text("failed")
            expect(page.locator("#verdict")).to_contain_text("written")
            page.screenshot(path=file, full_page=True)
        finally:
            dev.stop()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "docs" / "img" / "console.png"))
