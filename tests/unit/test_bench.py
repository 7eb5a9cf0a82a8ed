"""The parts of the benchmarks: frames, tables and the picture."""

import re
from io import StringIO
from xml.etree import ElementTree

import pytest
from rich.console import Console
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from bench.frames import CLOSE, PING, TEXT, FrameReader, client_frame, server_frame
from bench.lines import Panel, Series, lines
from bench.picture import BAR, picture
from bench.report import Column, noise, ratios, rounded, table

LENGTHS = (0, 1, 125, 126, 65_535, 65_536)
BROADCAST = Column("broadcast", "broadcast, a delivery", compared=True)
ROUNDS = {"limit": [{"broadcast": 5.0}, {"broadcast": 10.0}], "ours": [{"broadcast": 6.0}, {"broadcast": 12.0}]}


@pytest.mark.parametrize("cut", [1, 7, 100_000])
def test_frames_are_read_wherever_they_are_cut(cut: int) -> None:
    """
    The reader finds what websockets has written, of every length, however much is read at once.
    """
    written = [(TEXT, b"x" * length) for length in LENGTHS] + [(PING, b"p"), (CLOSE, b"\x03\xe8")]
    data = b"".join(Frame(Opcode(opcode), payload).serialize(mask=False) for opcode, payload in written)
    reader = FrameReader()

    read = [frame for at in range(0, len(data), cut) for frame in reader.feed(data[at : at + cut])]

    assert written == read


def test_a_fragment_is_refused() -> None:
    """
    A fragment, which would be counted as a message, is an error.
    """
    with pytest.raises(ValueError, match="fragment"):
        FrameReader().feed(Frame(Opcode.TEXT, b"x", fin=False).serialize(mask=False))


@pytest.mark.parametrize("length", LENGTHS)
def test_frames_are_written_as_a_server_and_a_client_read_them(length: int) -> None:
    """
    websockets reads what is written here, from a client and from a server.
    """
    payload = b"x" * length
    server, client = Protocol(Side.SERVER, max_size=None), Protocol(Side.CLIENT, max_size=None)

    server.receive_data(client_frame(TEXT, payload))
    client.receive_data(server_frame(payload))

    assert [Frame(Opcode.TEXT, payload)] == server.events_received() == client.events_received()


def test_a_ratio_is_the_median_of_those_of_each_round() -> None:
    """
    A round in which everything was slow changes no ratio.
    """
    assert {"broadcast": 1.2} == ratios(ROUNDS, "limit")["ours"]


def test_the_table_is_markdown_with_the_ratio_to_the_limit() -> None:
    """
    A contender's line has the median, and beside it how many times the limit's it is.
    """
    console = Console(file=StringIO(), width=100)

    console.print(table("CPU", [BROADCAST], ROUNDS))
    lines = [line.split("|")[1:-1] for line in console.file.getvalue().splitlines() if "|" in line]  # type: ignore[attr-defined]

    assert ["", "broadcast, a delivery, µs"] == [cell.strip() for cell in lines[0]]
    assert [["limit", "7.5"], ["ours", "9.0 (1.2×)"]] == [[cell.strip() for cell in line] for line in lines[2:]]


def test_noise_is_what_rounds_of_one_contender_differ_by() -> None:
    """
    Each figure counts by how far its rounds are apart, as a share of their median.
    """
    assert 5.0 / 7.5 == noise(ROUNDS)


def test_without_the_limit_there_are_no_ratios() -> None:
    """
    A run that leaves the limit out has figures alone.
    """
    assert {} == ratios({"ours": ROUNDS["ours"]}, "limit")


@pytest.mark.parametrize(("value", "text"), [(0.067, "0.07"), (4.94, "4.9"), (12.34, "12.3"), (2240.4, "2 240")])
def test_figures_are_rounded(value: float, text: str) -> None:
    """
    No figure claims more digits than it has.
    """
    assert text == rounded(value)


def test_the_picture_has_a_bar_for_each_contender() -> None:
    """
    Bars are as long as their figures, the longest over the whole width, and ours stand out.
    """
    drawn = ElementTree.fromstring(
        picture({"limit": {"broadcast": 5.0}, "ours": {"broadcast": 10.0}}, [BROADCAST], ["ours"])
    )

    bars = [(bar.get("class"), int(bar.get("width", ""))) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert [("bar", BAR // 2), ("mine", BAR)] == bars


def test_lines_of_a_dashboard() -> None:
    """
    Each panel has its title, its greatest value with the unit, and a line for each series, with a gap where nothing is
    known; one without values is empty.
    """
    known = Series("web <1>", [(0.0, 0.001), (5.0, float("nan")), (10.0, 0.004), (15.0, 0.002)])
    panels = [Panel("Time of a send", "s", [known]), Panel("Gaps", "cps", [Series("none", [(0.0, float("nan"))])])]
    drawn = lines(panels)

    assert [0.004, None] == [panel.most for panel in panels]
    assert 1 == drawn.count(">Time of a send<") == drawn.count(">4 ms<") == drawn.count("web &lt;1&gt;<")
    assert 1 == len(re.findall(r'd="M[\d.]+ [\d.]+M[\d.]+ [\d.]+L[\d.]+ [\d.]+"', drawn))
