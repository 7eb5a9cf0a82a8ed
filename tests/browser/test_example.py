"""The example, in windows. Each test has users of its own, since who has left stays online for a second."""

from itertools import groupby
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.windows import CONTENT, Example, OpenWindow
from tests.running import beat, web_node
from worker.sample import read_sample

CONTROL_CHARACTERS = 65


def test_presence(example: Example, open_window: OpenWindow) -> None:
    """
    Whoever signs in sees who is online, on any node, and is seen to come and to leave.
    """
    here, there = example.nodes
    alan, barbara = open_window(here), open_window(there)
    alan.sign_in("Alan")
    barbara.sign_in("Barbara")

    expect(barbara.person("Alan")).to_be_visible()
    expect(alan.person("Barbara")).to_be_visible()
    expect(alan.page.get_by_text("Barbara is online")).to_be_visible()

    barbara.page.context.close()

    expect(alan.page.get_by_text("Barbara has left")).to_be_visible()
    expect(alan.person("Barbara")).to_have_count(0)


def test_chat(example: Example, open_window: OpenWindow) -> None:
    """
    A message reaches the chosen people and the sender's other devices, and nobody else. It is shown as text.
    """
    here, there = example.nodes
    donald, donalds_phone = open_window(here, "Donald"), open_window(there, "Donald")
    edsger = open_window(there, "Edsger")
    frances = open_window(here, "Frances")

    donald.say("<b>go to</b> & 🙂", to="Edsger")

    for window in (donald, donalds_phone, edsger):
        expect(window.page.get_by_text("<b>go to</b> & 🙂", exact=True)).to_be_visible()
    donald.say("both of you", to="Frances")  # what comes after it has arrived, so it would have, too
    expect(frances.page.get_by_text("both of you")).to_be_visible()
    assert [{"from": "Donald", "to": ["Edsger", "Frances"], "text": "both of you"}] == frances.received("chat")


def test_nobody_there(example: Example, open_window: OpenWindow) -> None:
    """
    Who writes to somebody who has just left is told so, and gets the text back.
    """
    here, there = example.nodes
    grace = open_window(here, "Grace")
    niklaus = open_window(there, "Niklaus")
    expect(grace.person("Niklaus")).to_be_visible()
    grace.person("Niklaus").press("Space")
    niklaus.page.context.close()

    grace.say("are you there?", to="Niklaus")

    expect(grace.page.get_by_role("alert").get_by_text("None of them is online any more.")).to_be_visible()
    expect(grace.page.get_by_role("textbox", name="Message")).to_have_value("are you there?")


def test_import_moves_on_all_devices(example: Example, open_window: OpenWindow) -> None:
    """
    An import is seen to move, and to end, in both windows of its user, on two nodes, and not in another user's.
    """
    stored = sum(part.count("\n") for part in read_sample()) - 1 - CONTROL_CHARACTERS
    here, there = example.nodes
    ada, adas_phone = open_window(here, "Ada"), open_window(there, "Ada")
    charles = open_window(there, "Charles")

    ada.page.get_by_role("button", name="Import the sample").click()

    for window in (ada, adas_phone):
        result = window.card("characters.csv").get_by_text(f"Done: {stored:,} stored, 65 rejected")
        expect(result).to_be_visible()
        moves = window.percent("characters.csv")
        assert sorted(moves) == moves
        assert any(0 < move < 100 for move in moves)
        assert (0, 100) == (moves[0], moves[-1])
        states = [job["state"] for job in window.received("job")]
        assert ["queued", "started", "succeeded"] == [state for state, _ in groupby(states) if state != "waiting"]
    ada.say("it is done", to="Charles")  # what comes after the import has arrived, so it would have, too
    expect(charles.page.get_by_text("it is done")).to_be_visible()
    assert {"online", "came", "chat"} == {word for frame in charles.frames for word in frame}
    expect(charles.page.locator(".job")).to_have_count(0)


def test_waiting(example: Example, open_window: OpenWindow) -> None:
    """
    A job that waits says how many are before it; one that is cancelled then is over at once, and the next moves up.
    """
    here, there = example.nodes
    evelyn, evelyns_phone = open_window(here, "Evelyn"), open_window(there, "Evelyn")
    content = b"code_point,name,category,direction\nU+0041,A,Lu,L\n"
    words = {name: evelyns_phone.card(name).locator(".words") for name in ("third.csv", "fourth.csv")}

    with example.held(lambda: evelyn.import_file("first.csv", CONTENT)):
        for name in ("second.csv", *words):
            evelyn.import_file(name, content)
            expect(evelyn.card(name).get_by_role("button", name=f"Cancel {name}")).to_be_visible()
        expect(words["third.csv"]).to_have_text("Waiting: it is next")
        expect(words["fourth.csv"]).to_have_text("Waiting: 1 before it")
        evelyn.page.get_by_role("button", name="Cancel third.csv").click()
        expect(words["third.csv"]).to_have_text("Cancelled.")
        expect(words["fourth.csv"]).to_have_text("Waiting: it is next")

    expect(words["fourth.csv"]).to_have_text("Done: 1 stored")
    assert "started" not in evelyn.states("third.csv")


def test_rejected_rows(example: Example, open_window: OpenWindow) -> None:
    """
    Rejected rows are listed with their lines and reasons; the others are stored.
    """
    heinz = open_window(example.nodes[0], "Heinz")

    heinz.import_file("mixed.csv", b"code_point,name,category,direction\nU+0041,A,Lu,L\nU+0000,,Cc,BN\n65,A,Lu,L\n")

    card = heinz.card("mixed.csv")
    expect(card.get_by_text("Done: 1 stored, 2 rejected")).to_be_visible()
    card.get_by_text("2 rejected rows").click()
    expect(card.get_by_role("row")).to_have_text(
        [
            "LineWhy it was rejected",
            "3name: String should have at least 1 character",
            "4code_point: Should be a code point such as U+0041, up to U+10FFFF",
        ]
    )


def test_bad_file(example: Example, open_window: OpenWindow) -> None:
    """
    A file that is none of ours is refused in words, on all devices.
    """
    here, there = example.nodes
    windows = open_window(here, "Ivan"), open_window(there, "Ivan")

    windows[0].import_file("photo.png", b"\x89PNG\r\n\x1a\n")

    for window in windows:
        expect(window.card("photo.png").get_by_text("Not UTF-8 text")).to_be_visible()


def test_too_large(example: Example, open_window: OpenWindow, tmp_path: Path) -> None:
    """
    A file that is too large is refused before it is sent.
    """
    john = open_window(example.nodes[0], "John")

    large = tmp_path / "large.csv"
    with large.open("wb") as file:
        file.truncate(16 * 1024 * 1024 + 1)

    john.page.set_input_files("#file", large)

    expect(john.card("large.csv").get_by_text("larger than 16 MiB")).to_be_visible()
    assert [] == [address for address in john.requests if address.endswith("/imports")]


def test_reload(example: Example, open_window: OpenWindow) -> None:
    """
    A reloaded page is signed in, connected and in the list as before.
    """
    here, there = example.nodes
    ken = open_window(here, "Ken")
    leslie = open_window(there, "Leslie")

    ken.page.reload()

    ken.expect_live()
    leslie.say("still there?", to="Ken")
    expect(ken.page.get_by_text("still there?")).to_be_visible()
    ken.say("yes", to="Leslie")
    expect(leslie.page.get_by_text("yes", exact=True)).to_be_visible()


def test_a_node_is_killed(example: Example, open_window: OpenWindow) -> None:
    """
    A page whose node is killed says that it is offline, and is connected again when the node is back.
    """
    with web_node(env=example.env) as node:
        margaret = open_window(node, "Margaret")
        expect(margaret.page.locator("#offline")).to_be_hidden()

        node.kill()

        expect(margaret.page.get_by_role("alert").get_by_text("You are offline")).to_be_visible()
        expect(margaret.page.locator("#connection")).to_have_text("Offline")

    with web_node(node.port, example.env):
        margaret.expect_live()
        expect(margaret.page.locator("#offline")).to_be_hidden()
        noam = open_window(example.nodes[0], "Noam")
        noam.say("welcome back", to="Margaret")
        expect(margaret.page.get_by_text("welcome back")).to_be_visible()


def test_summary(example: Example, open_window: OpenWindow) -> None:
    """
    The beat schedule tells everyone who is online and what is stored.
    """
    ole = open_window(example.nodes[0], "Ole")

    with beat({**example.env, "EXAMPLE_SUMMARY_SECONDS": "2"}):
        expect(ole.page.locator("#summary")).to_contain_text("characters stored")

    assert "Ole" in ole.received("summary")[0]["online"]


def test_sign_out(example: Example, open_window: OpenWindow) -> None:
    """
    Who signs out is asked for a name again, and has left.
    """
    here, there = example.nodes
    peter = open_window(here, "Peter")
    radia = open_window(there, "Radia")
    expect(peter.person("Radia")).to_be_visible()

    radia.page.get_by_role("button", name="Sign out").click()

    expect(radia.page.get_by_label("Your name")).to_be_focused()
    expect(peter.page.get_by_text("Radia has left")).to_be_visible()


def test_sample_download(example: Example, open_window: OpenWindow) -> None:
    """
    The link downloads the sample.
    """
    sophie = open_window(example.nodes[0], "Sophie")

    with sophie.page.expect_download() as download:
        sophie.page.get_by_role("link", name="Download the sample").click()

    assert "characters.csv" == download.value.suggested_filename
    assert "".join(read_sample()).encode() == download.value.path().read_bytes()


def test_nothing_from_elsewhere(example: Example, open_window: OpenWindow) -> None:
    """
    The page asks no other site for anything, and keeps its own policy.
    """
    node = example.nodes[0]
    tim = open_window(node, "Tim")
    tim.import_file("one.csv", b"code_point,name,category,direction\nU+0041,A,Lu,L\n")
    expect(tim.card("one.csv").get_by_text("Done")).to_be_visible()

    assert [] == [address for address in tim.requests if not address.startswith(f"{node.url}/")]
    assert [] == tim.problems
    refused = tim.page.evaluate("fetch('data:text/plain,x').then(() => false, () => true)")
    assert refused


def test_fits_a_telephone(example: Example, open_window: OpenWindow) -> None:
    """
    On a small telephone nothing sticks out, however long the names and words are.
    """
    ursula = open_window(example.nodes[0], "U" * 32, viewport={"width": 320, "height": 640}, is_mobile=True)
    vint = open_window(example.nodes[1], "V" * 32)
    vint.say("w" * 300, to="U" * 32)
    expect(ursula.page.get_by_text("w" * 300)).to_be_visible()
    ursula.import_file("x" * 100 + ".csv", b"y" * 100)
    expect(ursula.page.get_by_text("The first line should name")).to_have_count(2)  # seen, and read aloud

    width = ursula.page.evaluate("document.documentElement.scrollWidth")

    assert 320 == width
