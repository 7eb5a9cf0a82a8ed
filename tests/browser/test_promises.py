"""
What the library promises, as a user sees it: real processes, real kills, and Chromium.

A job is held where it is by a lock on the table that it writes to.
"""

import re
import threading
from collections.abc import Iterator
from itertools import count

import pytest
from playwright.sync_api import Browser, expect

from qrsocket.sync import socket
from tests.browser.windows import (
    CONTENT,
    LONG_NAMES,
    MS,
    PATIENCE,
    ROWS,
    Example,
    OpenWindow,
    Window,
    one_job,
    running_example,
)
from tests.conftest import Configure
from tests.redis.conftest import MortalRedis
from worker.chat import ROOM

FILE = "characters.csv"
FIRST_ID = 1_000_000  # after all that the application has kept


@pytest.fixture(scope="module")
def redis_that_dies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalRedis]:
    server = MortalRedis(tmp_path_factory.mktemp("mortal") / "redis")
    yield server
    server.close()


@pytest.fixture(scope="module")
def mortal_example(redis_that_dies: MortalRedis, browser: Browser) -> Iterator[Example]:
    """One in which deaths are found out soon."""
    settings = {
        "EXAMPLE_WORD_SECONDS": "0.02",  # an answer takes less than the next
        "EXAMPLE_VISIBILITY_SECONDS": f"{3_000 * MS:.0f}",
        "QRSOCKET_LEASE": str(2_000 * MS),
        "QRSOCKET_RENEW_INTERVAL": str(300 * MS),
    }
    with running_example(redis_that_dies, **settings) as example:
        yield example


def test_a_reloaded_page_still_shows_the_bar_and_it_goes_on(example: Example, open_window: OpenWindow) -> None:
    """
    A page that is reloaded shows the job where it was, and how it goes on.
    """
    ada = open_window(example.nodes[0], "Ada A")
    words = ada.card(FILE).locator(".words")

    with example.held(lambda: ada.import_file(FILE, CONTENT)):
        expect(words).to_contain_text("stored")
        before = ada.percent(FILE)[-1]
        ada.page.reload()
        expect(words).to_contain_text("stored")

    expect(words).to_contain_text("Done")
    moves = ada.percent(FILE)
    assert 0 < before <= moves[0]
    assert moves[0] < 100
    assert sorted(moves) == moves


def test_every_device_follows_also_one_that_is_opened_half_way(example: Example, open_window: OpenWindow) -> None:
    """
    A second device, on another node, shows the same; so does one that comes when the job is half-way.
    """
    here, there = example.nodes
    early = [open_window(here, "Barbara B"), open_window(there, "Barbara B")]

    with example.held(lambda: early[0].import_file(FILE, CONTENT)):
        for window in early:
            expect(window.card(FILE).locator(".words")).to_contain_text("stored")
        before = early[0].percent(FILE)[-1]
        late = open_window(there, "Barbara B")
        expect(late.card(FILE).locator(".words")).to_contain_text("stored")

    for window in (*early, late):
        expect(window.card(FILE).locator(".words")).to_contain_text("Done")
        moves = window.percent(FILE)
        assert sorted(moves) == moves
        assert len(moves) > 1
    assert 0 < before <= late.percent(FILE)[0] < 100
    assert 1 == len({window.words(FILE)[-1] for window in (*early, late)})


def test_cancel_stops_it(example: Example, open_window: OpenWindow) -> None:
    """
    Who presses Cancel sees the job stop, on all devices; nothing more is stored.
    """
    here, there = example.nodes
    carl, carls_phone = open_window(here, "Carl C"), open_window(there, "Carl C")
    card, before = carl.card(FILE), example.uploads

    with example.held(lambda: carl.import_file(FILE, CONTENT)):
        carl.page.get_by_role("button", name=f"Cancel {FILE}").press("Enter")
        expect(card.get_by_text("Stopping…")).to_be_visible()

    for window in (carl, carls_phone):
        expect(window.card(FILE).get_by_text("Cancelled. Before that:")).to_be_visible()
        expect(window.page.get_by_role("button", name="Cancel")).to_have_count(0)
        expect(window.page.locator("#announcement")).to_contain_text(f"{FILE}: Cancelled.")
    expect(card).to_be_focused()  # where the button was
    assert set(example.uploads) <= set(before)  # the job has left its own; those before may have gone, too
    assert 0 < example.stored() < ROWS / 2


def test_a_job_that_ended_before_the_page_was_opened_is_on_it(example: Example, open_window: OpenWindow) -> None:
    """
    A page that is opened later shows how the job ended, and what it gave; nothing of it is read aloud.
    """
    here, there = example.nodes
    dora = open_window(here, "Dora D")
    dora.import_file("mixed.csv", b"code_point,name,category,direction\nU+0041,A,Lu,L\nU+0000,,Cc,BN\n")
    expect(dora.card("mixed.csv").get_by_text("Done")).to_be_visible()
    dora.page.context.close()

    card = (late := open_window(there, "Dora D")).card("mixed.csv")

    expect(card.get_by_text("Done: 1 stored, 1 rejected")).to_be_visible()
    card.get_by_text("1 rejected row").click()
    expect(card.get_by_text("name: String should have at least 1 character")).to_be_visible()
    expect(late.page.locator("#announcement")).to_be_empty()


def test_a_job_is_nobody_elses(example: Example, open_window: OpenWindow) -> None:
    """
    Another user sees nothing of it, and cannot stop it, although they know its id.
    """
    here, there = example.nodes
    emil, mallory = open_window(here, "Emil E"), open_window(there, "Mallory")

    with example.held(lambda: emil.import_file(FILE, CONTENT)):
        expect(emil.card(FILE).locator(".words")).to_contain_text("stored")
        id = emil.received("job")[0]["id"]
        assert 404 == mallory.page.evaluate(CANCEL_BY_HTTP, id)
        assert "No such job" == mallory.page.evaluate(CANCEL_BY_SOCKET, id)
        assert [] == mallory.page.evaluate("fetch('/socket/jobs').then(answer => answer.json())")
        expect(mallory.page.locator(".job")).to_have_count(0)

    expect(emil.card(FILE).locator(".words")).to_contain_text("Done")
    assert [] == mallory.received("job")


CANCEL_BY_HTTP = "id => fetch(`/socket/jobs/${id}/cancel`, { method: 'POST' }).then(answer => answer.status)"
CANCEL_BY_SOCKET = """
    async id => {
        const { connect } = await import("/socket/client.js");
        const socket = connect("/socket", { storage: null });
        return socket.jobs.cancel(id).then(() => "cancelled", error => error.message).finally(socket.close);
    }
"""


def test_a_killed_workers_job_is_taken_over_and_ends_well(mortal_example: Example, open_window: OpenWindow) -> None:
    """
    When its worker is killed the page says so, and another worker brings the job to its end.
    """
    frances = open_window(mortal_example.nodes[0], "Frances F")
    card = frances.card(FILE)

    with mortal_example.held(lambda: frances.import_file(FILE, CONTENT)):
        expect(card.locator(".words")).to_contain_text("stored")
        mortal_example.worker_of(frances.received("job")[0]["id"]).kill()

    expect(card.get_by_text("Its worker died. Another will take it over.")).to_be_visible()
    expect(card.get_by_text("Done")).to_be_visible()
    assert 2 == frances.states(FILE).count("started")
    assert [] == mortal_example.uploads


def test_an_answer_is_there_once_when_its_worker_is_killed(mortal_example: Example, open_window: OpenWindow) -> None:
    """
    When its worker is killed in the middle of an answer, another writes it anew; everybody has it once and whole.
    """
    here, there = mortal_example.nodes
    flora, fritz = open_window(here, "Flora F"), open_window(there, "Fritz F")
    flora.import_file("words.csv", LONG_NAMES)
    expect(flora.card("words.csv").get_by_text("Done")).to_be_visible()
    with one_job(mortal_example.env) as third:  # one may be dead
        flora.say("@bot qrs")
        expect(fritz.said("QRS QRS")).to_be_visible()
        answer = next(job["id"] for job in flora.received("job") if job["task"] == "worker.tasks.answer")
        next(one for one in (*mortal_example.workers, third) if any(answer in line for line in one.log)).kill()

        for window in (flora, fritz):
            expect(window.page.locator(".bot")).to_have_attribute("data-state", "kept")
            expect(window.page.locator(".bot .text")).to_have_text(re.compile("QRS 4, U.2194, a symbol .Sm..$"))
            assert 1 == len([text for text in window.texts() if text.endswith("(Sm).")])


def test_no_message_is_missing_or_comes_twice_when_redis_is_killed(
    mortal_example: Example, redis_that_dies: MortalRedis, open_window: OpenWindow, configure: Configure
) -> None:
    """
    While the room is written to without a pause, Redis is killed, and comes back with its log: the page shows all that
    was sent, in order and once.
    """
    configure(redis_url=redis_that_dies.url)
    grete = open_window(mortal_example.nodes[0], "Grete G")

    with Writer() as writer:
        wait_for_texts(grete, 20)
        redis_that_dies.restart()
        wait_for_texts(grete, len(sent_texts(grete)) + 20)

    wait_for_texts(grete, len(writer.sent))
    assert writer.sent == sent_texts(grete)


class Writer:
    """Writes to the room, a hundred times a second, from where there is no socket, until its block ends."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._write, name="writer")

    def _write(self) -> None:
        for number in count():
            text = f"message {number}"
            said = {"id": FIRST_ID + number, "who": "Hans", "key": text, "text": text, "at": 0}
            socket.topic(ROOM).send({"said": said}, message_id=f"hans-{number}", wait=PATIENCE)
            self.sent.append(text)
            if self._is_over.wait(10 * MS):
                return

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(PATIENCE)


def sent_texts(window: Window) -> list[str]:
    return [text for text in window.texts() if text.startswith("message ")]


def wait_for_texts(window: Window, number: int) -> None:
    window.page.wait_for_function(IS_THERE, arg=number)


IS_THERE = """
    least => {
        const texts = [...document.querySelectorAll("#messages .text")].map(text => text.textContent);
        return texts.filter(text => text.startsWith("message ")).length >= least;
    }
"""
