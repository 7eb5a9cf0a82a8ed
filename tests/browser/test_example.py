"""
The example, in windows. Each test has users of its own, since who has left stays in the room for seconds; and texts of
its own, since all that is said stays there.
"""

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from playwright.sync_api import expect
from redis import Redis

from qrsocket.sync import socket
from tests.browser.windows import CONTENT, LONG_NAMES, Example, OpenWindow, Window
from tests.conftest import Configure
from tests.running import beat, web_node
from worker.chat import BOT, ROOM
from worker.sample import read_sample

CONTROL_CHARACTERS = 65
ALEF = b"code_point,name,category,direction\nU+2135,ALEF SYMBOL,Lo,L\n"


def test_members(example: Example, open_window: OpenWindow) -> None:
    """
    Whoever signs in sees who is in the room, on any node, and is seen to come and to leave. A second device is no word.
    """
    here, there = example.nodes
    alan, barbara = open_window(here), open_window(there)
    alan.sign_in("Alan")
    barbara.sign_in("Barbara")

    expect(barbara.person("Alan")).to_be_visible()
    expect(alan.person("Barbara")).to_be_visible()
    expect(alan.page.get_by_text("Barbara has joined")).to_be_visible()

    open_window(here, "Barbara").page.context.close()
    barbara.page.reload()
    barbara.expect_live()
    barbara.page.context.close()

    expect(alan.page.get_by_text("Barbara has left")).to_have_count(1)
    expect(alan.person("Barbara")).to_have_count(0)
    expect(alan.page.get_by_text("Barbara has joined")).to_have_count(1)


def test_no_other_room(example: Example, open_window: OpenWindow) -> None:
    """
    There is one room: another is refused.
    """
    bertrand = open_window(example.nodes[0], "Bertrand")

    assert ["refused", "There is no such room."] == bertrand.page.evaluate(JOIN_ANOTHER)


JOIN_ANOTHER = """
    async () => {
        const { connect } = await import("/socket/client.js");
        const socket = connect("/socket", { storage: null });
        const room = socket.topic("room:other");
        const end = await new Promise(resolve => room.on("state", (...told) => told[0] === "joining" || resolve(told)));
        socket.close();
        return end;
    }
"""


def test_chat(example: Example, open_window: OpenWindow) -> None:
    """
    What is said reaches everybody in the room and the sender's other devices, once. It is shown as text, and as sent.
    """
    here, there = example.nodes
    donald, donalds_phone = open_window(here, "Donald"), open_window(there, "Donald")
    edsger = open_window(there, "Edsger")

    donald.say("<b>go to</b> & 🙂")
    edsger.say("considered harmful")

    for window in (donald, donalds_phone, edsger):
        expect(window.said("considered harmful")).to_be_visible()
        expect(window.said("<b>go to</b> & 🙂")).to_have_count(1)
        assert ["<b>go to</b> & 🙂", "considered harmful"] == window.texts()[-2:]
    for window in (donald, donalds_phone):
        expect(window.said("<b>go to</b>")).to_have_class("mine")
        expect(window.said("<b>go to</b>")).to_have_attribute("data-state", "kept")
    expect(edsger.said("<b>go to</b>").locator(".who")).to_contain_text("Donald")


def test_typing(example: Example, open_window: OpenWindow) -> None:
    """
    The others see who is typing, until it is said, or for a few seconds; oneself does not, on no device.
    """
    here, there = example.nodes
    frances, frances_phone = open_window(here, "Frances"), open_window(there, "Frances")
    grace = open_window(there, "Grace")
    typing = grace.page.get_by_text("Frances is typing…")

    frances.page.get_by_role("textbox", name="Message").press_sequentially("so")
    expect(typing).to_be_visible()
    frances.say("so it is")
    expect(typing).to_be_hidden()
    frances.page.get_by_role("textbox", name="Message").press_sequentially("but")
    expect(typing).to_be_visible()
    expect(typing).to_be_hidden()

    assert [] == frances.received("typing")
    assert {"Frances"} == set(frances_phone.received("typing"))
    assert [] == frances.shown_typing() == frances_phone.shown_typing()


def test_history(example: Example, open_window: OpenWindow) -> None:
    """
    A page that is reloaded, and one that comes later, shows what was said before, in its order, and goes on.
    """
    here, there = example.nodes
    heinz = open_window(here, "Heinz H")
    texts = [f"history {number}" for number in range(5)]
    for text in texts:
        heinz.say(text)
        expect(heinz.said(text)).to_have_attribute("data-state", "kept")

    heinz.page.reload()
    later = open_window(there, "Ida")
    later.say("history ends")

    for window in (heinz, later):
        expect(window.said("history ends")).to_be_visible()
        assert [*texts, "history ends"] == window.texts()[-6:]


def test_what_is_missed_is_asked_for(example: Example, open_window: OpenWindow) -> None:
    """
    A page that was told of a gap asks for what was said, and shows it in its place.
    """
    here, there = example.nodes
    ida, ivan = open_window(here, "Ida I"), open_window(there, "Ivan I")
    ida.say("before the gap")
    expect(ivan.said("before the gap")).to_be_visible()
    ivan.page.context.set_offline(True)
    ivan.page.evaluate("dispatchEvent(new Event('offline'))")
    expect(ivan.page.locator("#offline")).to_be_visible()
    with Redis.from_url(example.env["QRSOCKET_REDIS_URL"]) as redis:
        ida.say("in the gap")
        expect(ida.said("in the gap")).to_have_attribute("data-state", "kept")
        redis.delete(*redis.keys("qrsocket:app:*history*t:room:team"))

    ivan.page.context.set_offline(False)

    ida.say("after the gap")
    expect(ivan.said("after the gap")).to_be_visible()
    expect(ivan.said("in the gap")).to_be_visible()
    assert ["before the gap", "in the gap", "after the gap"] == ivan.texts()[-3:]


def test_a_request_that_fails(example: Example, open_window: OpenWindow) -> None:
    """
    What is refused is shown with the reason, to its sender alone, and stays to be tried again.
    """
    here, there = example.nodes
    john, karl = open_window(here, "John J"), open_window(there, "Karl")
    john.page.locator("#text").evaluate("input => (input.maxLength = 5000)")
    long = "long " * 300

    john.say(long)

    expect(john.said(long.strip()).get_by_text("String should have at most 1000 characters")).to_be_visible()
    expect(john.said(long.strip()).get_by_role("button", name="Try again")).to_be_visible()
    john.say("shorter")
    expect(karl.said("shorter")).to_be_visible()
    expect(karl.said(long.strip())).to_have_count(0)
    assert long.strip() == john.texts()[-1]  # below what is kept


def test_what_is_tried_again_is_said_once(example: Example, open_window: OpenWindow) -> None:
    """
    Where the answer is lost with its node, the page says that nothing was sent. Tried again it is there once.
    """
    with web_node(env=example.env) as node:
        lars = open_window(node, "Lars")
        mary = open_window(example.nodes[0], "Mary")
        node.process.send_signal(signal.SIGSTOP)
        lars.say("is it lost?")
        expect(lars.said("is it lost?").get_by_text("Sending…")).to_be_visible()
        node.kill()
        expect(lars.said("is it lost?").get_by_text("Not sent: connection lost")).to_be_visible()

    with web_node(node.port, example.env):
        lars.expect_live()
        lars.said("is it lost?").get_by_role("button", name="Try again").press("Enter")
        expect(lars.said("is it lost?")).to_have_attribute("data-state", "kept")
        expect(lars.page.get_by_role("log")).to_be_focused()  # where the button was
        expect(mary.said("is it lost?")).to_be_visible()
        for window in (lars, mary):
            assert 1 == window.texts().count("is it lost?")


def test_assistant(example: Example, open_window: OpenWindow) -> None:
    """
    An answer grows word by word on all devices of everybody, and is there once and whole, also after a reload half-way.
    """
    here, there = example.nodes
    nora, noras_phone = open_window(here, "Nora"), open_window(there, "Nora")
    otto, late = open_window(there, "Otto"), open_window(here, "Late")
    nora.import_file("alef.csv", ALEF)
    expect(nora.card("alef.csv").get_by_text("Done")).to_be_visible()

    nora.page.get_by_role("button", name="Ask @bot").click()
    nora.page.keyboard.type("what is ℵ?")
    nora.page.keyboard.press("Enter")
    expect(late.said("ℵ is")).to_be_visible()
    late.page.reload()

    for window in (nora, noras_phone, otto, late):
        answer = window.page.locator(".bot").last
        expect(answer).to_have_attribute("data-state", "kept")
        expect(answer.locator(".text")).to_have_text("ℵ is ALEF SYMBOL, U+2135, a letter (Lo).")
        assert ["@bot what is ℵ?", "ℵ is ALEF SYMBOL, U+2135, a letter (Lo)."] == window.texts()[-2:]
    for window in (nora, noras_phone, otto):
        grown = [text for text in window.written() if text.startswith("ℵ")]
        assert grown[-1].startswith("ℵ is ALEF SYMBOL")
        assert sorted(grown, key=len) == grown
        assert len(grown) > 2


def test_assistant_that_fell_silent(example: Example, open_window: OpenWindow, configure: Configure) -> None:
    """
    What was written of an answer whose worker is dead goes away; what is kept stays.
    """
    configure(redis_url=example.env["QRSOCKET_REDIS_URL"])
    nancy = open_window(example.nodes[0], "Nancy")
    nancy.page.clock.install()
    half, whole = ({"who": BOT, "key": key, "text": f"this is {key}"} for key in ("half", "whole"))
    room = socket.topic(ROOM)
    with ThreadPoolExecutor() as elsewhere:  # Playwright runs an event loop in this thread
        for said in (half, whole):
            elsewhere.submit(room.send, {"said": said}, keep=False).result()
        expect(nancy.said("this is half")).to_be_visible()
        elsewhere.submit(room.send, {"said": {**whole, "id": 1_000_000, "at": 0}}).result()
    expect(nancy.said("this is whole")).to_have_attribute("data-state", "kept")

    nancy.page.clock.run_for(16_000)

    expect(nancy.said("this is half")).to_have_count(0)
    expect(nancy.said("this is whole")).to_be_visible()


def test_assistant_is_stopped(example: Example, open_window: OpenWindow) -> None:
    """
    Who has asked can stop the answer, on any device, and nobody else; what was written stays, for all.
    """
    here, there = example.nodes
    paul, pauls_phone, quentin = open_window(here, "Paul"), open_window(there, "Paul"), open_window(there, "Quentin")
    paul.import_file("words.csv", LONG_NAMES)
    expect(paul.card("words.csv").get_by_text("Done")).to_be_visible()

    paul.say("@bot qrs")
    expect(quentin.said("QRS QRS")).to_be_visible()
    expect(quentin.page.get_by_role("button", name="Stop")).to_have_count(0)
    pauls_phone.page.get_by_role("button", name="Stop").press("Enter")

    for window in (paul, pauls_phone, quentin):
        expect(window.page.locator(".bot").last).to_have_attribute("data-state", "kept")
        expect(window.page.locator(".bot").last.locator(".text")).to_have_text(re.compile("QRS …$"))
        expect(window.page.get_by_role("button", name="Stop")).to_have_count(0)
    expect(paul.page.locator(".job")).to_have_count(1)  # an answer is none of the imports


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
    ada.say("it is done")  # what comes after the import has arrived, so it would have, too
    expect(charles.said("it is done")).to_be_visible()
    assert [] == charles.received("job")
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
        for name in ("second.csv", *words):  # in this order: until it is a job, another file may overtake it
            evelyn.import_file(name, content)
            expect(evelyns_phone.card(name).get_by_role("button", name=f"Cancel {name}")).to_be_visible()
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
    A reloaded page is signed in, connected and in the room as before, and nobody saw it leave.
    """
    here, there = example.nodes
    ken = open_window(here, "Ken")
    leslie = open_window(there, "Leslie")
    expect(leslie.person("Ken")).to_be_visible()

    ken.page.reload()

    ken.expect_live()
    leslie.say("still there?")
    expect(ken.said("still there?")).to_be_visible()
    ken.say("yes, I am")
    expect(leslie.said("yes, I am")).to_be_visible()
    expect(leslie.page.get_by_text("Ken has left")).to_have_count(0)


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
        noam.say("welcome back")
        expect(margaret.said("welcome back")).to_be_visible()


def test_summary(example: Example, open_window: OpenWindow) -> None:
    """
    The beat schedule tells everyone how many are in the room and what is stored.
    """
    ole = open_window(example.nodes[0], "Ole")

    with beat({**example.env, "EXAMPLE_SUMMARY_SECONDS": "2"}):
        expect(ole.page.locator("#summary")).to_contain_text("characters stored")

    assert ole.received("summary")[0]["members"] > 0


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


def test_another_user(example: Example, open_window: OpenWindow) -> None:
    """
    A page whose browser is signed in under another name, in another tab, is that user's from its next connection on.
    """
    node = example.nodes[0]
    rosa = open_window(node, "Rosa")
    rosa.say("mine, as Rosa")
    expect(rosa.said("mine, as Rosa")).to_have_class("mine")
    rosa.page.context.request.post(f"{node.url}/sign-in", data={"name": "Stephen"})

    rosa.page.evaluate("dispatchEvent(new Event('offline'))")

    expect(rosa.page.locator("#name")).to_have_text("Stephen")
    expect(rosa.person("Stephen (you)")).to_be_visible()
    expect(rosa.said("mine, as Rosa")).to_have_class("theirs")


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
    tim.say("all of it is here")
    expect(tim.said("all of it is here")).to_have_attribute("data-state", "kept")
    refused = tim.page.evaluate("fetch('data:text/plain,x').then(() => false, () => true)")
    assert refused


def test_fits_a_telephone(example: Example, open_window: OpenWindow) -> None:
    """
    On a small telephone nothing sticks out, however long the names and words are, and however the connection is.
    """
    ursula = open_window(example.nodes[0], "U" * 32, viewport={"width": 320, "height": 640}, is_mobile=True)
    vint = open_window(example.nodes[1], "V" * 32)
    vint.say("w" * 300)
    expect(ursula.said("w" * 300)).to_be_visible()
    ursula.import_file("x" * 100 + ".csv", b"y" * 100)
    expect(ursula.page.get_by_text("The first line should name")).to_have_count(2)  # seen, and read aloud

    vint.page.get_by_role("textbox", name="Message").press_sequentially("w")
    expect(ursula.page.get_by_text("is typing…")).to_be_visible()
    widths = {state: ursula.page.evaluate(WIDTH, state) for state in ("Live", "Connecting…", "Offline", "Closed")}

    assert {320} == {*widths.values()}, widths


WIDTH = "state => (document.getElementById('connection').textContent = state, document.documentElement.scrollWidth)"


def test_accessible(example: Example, open_window: OpenWindow, axe: str) -> None:
    """
    axe finds nothing to complain of, in light and in dark: at the welcome, in the room with all that it can show, and
    offline.
    """
    with web_node(env=example.env) as node:
        window = open_window(node, reduced_motion="reduce")
        expect(window.page.get_by_label("Your name")).to_be_focused()
        assert [] == findings(window, axe)
        window.sign_in("William")
        open_window(example.nodes[0], "Xenia").say("hello, William")
        expect(window.said("hello, William")).to_be_visible()
        window.import_file("mixed.csv", b"code_point,name,category,direction\nU+2135,ALEF SYMBOL,Lo,L\n65,A,Lu,L\n")
        window.card("mixed.csv").get_by_text("1 rejected row").click()
        window.import_file("bad.csv", b"a,b\n")
        expect(window.card("bad.csv").get_by_text("The first line should name")).to_be_visible()
        window.page.locator("#text").evaluate("input => (input.maxLength = 5000)")
        window.say("x" * 2000)
        expect(window.page.get_by_role("button", name="Try again")).to_be_visible()
        window.say("@bot alef")
        expect(window.page.locator(".bot").last).to_have_attribute("data-state", "kept")
        with example.held(lambda: window.import_file("held.csv", CONTENT)):
            expect(window.card("held.csv").get_by_role("button", name="Cancel")).to_be_visible()
            assert [] == findings(window, axe)
        node.kill()
        expect(window.page.locator("#offline")).to_be_visible()
        assert [] == findings(window, axe)


def findings(window: Window, axe: str) -> list[str]:
    """Return what axe finds, in light and in dark. The debugger evaluates it: the page's policy does not stop that."""
    found: list[str] = []
    window.page.evaluate(axe)
    for scheme in ("light", "dark"):
        window.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        seen = window.page.evaluate("axe.run(document, { preload: false })")
        found += [f"{each['id']}: {node['html'][:200]}" for each in seen["violations"] for node in each["nodes"]]
    return found
