"""Panels of lines over time, as SVG that is readable on light and on dark pages."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

ACROSS, MOST_NAMED = 3, 4
WIDTH, CHART, HEAD, LINE, GAP, LEFT = 330, 90, 26, 15, 14, 46
COLOURS = ("#0969da", "#1a7f37", "#bc4c00", "#8250df", "#bf3989", "#9a6700", "#57606a")
STYLE = """
text { font: 11px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 13px; font-weight: 600 }
.axis { stroke: #9aa4b2; fill: none }
.line { fill: none; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .axis { stroke: #59636e } }
"""
Points = Sequence[tuple[float, float]]


class Series(NamedTuple):
    """
    Attributes:
        points: Seconds since the beginning, and values, NaN where there is none.
    """

    name: str
    points: Points


class Panel(NamedTuple):
    title: str
    unit: str
    series: Sequence[Series]

    @property
    def most(self) -> float | None:
        """The greatest value; None if there is none."""
        return max((value for one in self.series for _, value in one.points if math.isfinite(value)), default=None)


def lines(panels: Sequence[Panel]) -> str:
    """Return the panels, three beside each other, all over the same time."""
    seconds = max(at for panel in panels for one in panel.series for at, _ in one.points)
    height = HEAD + CHART + LINE * (MOST_NAMED + 2) + GAP
    width, whole = WIDTH * ACROSS, height * -(-len(panels) // ACROSS)
    drawn = []
    for number, panel in enumerate(panels):
        x, y = number % ACROSS * WIDTH, number // ACROSS * height
        drawn.append(f'<g transform="translate({x} {y})">\n{_panel(panel, seconds)}\n</g>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{whole}" viewBox="0 0 {width} {whole}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *drawn, "</svg>\n"])


def _panel(panel: Panel, seconds: float) -> str:
    most, across, floor = panel.most or 1.0, WIDTH - LEFT - GAP, HEAD + CHART
    parts = [
        f'<text class="title" x="{LEFT}" y="16">{escape(panel.title)}</text>',
        f'<path class="axis" d="M{LEFT} {HEAD}V{floor}H{LEFT + across}"/>',
        f'<text x="{LEFT - 4}" y="{HEAD + 8}" text-anchor="end">{_with_unit(most, panel.unit)}</text>',
        f'<text x="{LEFT - 4}" y="{floor}" text-anchor="end">0</text>',
        f'<text x="{LEFT + across}" y="{floor + 12}" text-anchor="end">{seconds / 60:.0f} min</text>',
    ]
    ranked = sorted(panel.series, key=lambda one: -max((v for _, v in one.points if math.isfinite(v)), default=0))
    for number, one in enumerate(ranked):
        colour = COLOURS[number % len(COLOURS)]
        path = _path([(LEFT + at / seconds * across, floor - value / most * CHART) for at, value in one.points])
        parts.append(f'<path class="line" stroke="{colour}" d="{path}"/>')
        if number < MOST_NAMED:
            y = floor + 14 + LINE * (number + 1)
            parts.append(f'<text x="{LEFT}" y="{y}"><tspan fill="{colour}">■</tspan> {escape(one.name)}</text>')
    if len(ranked) > MOST_NAMED:
        y = floor + 14 + LINE * (MOST_NAMED + 1)
        parts.append(f'<text x="{LEFT}" y="{y}">and {len(ranked) - MOST_NAMED} more</text>')
    return "\n".join(parts)


def _path(points: Points) -> str:
    """Draw a line through *points*, with a gap where there is no value."""
    words, pen = [], "M"
    for x, y in points:
        if math.isfinite(y):
            words.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L" if math.isfinite(y) else "M"
    return "".join(words)


def _with_unit(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    if unit == "bytes":
        return f"{value / 1024:.3g} KiB"
    return f"{value:.3g}"
