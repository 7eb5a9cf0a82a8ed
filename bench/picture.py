"""A picture of the figures: bars, as SVG that is readable on light and on dark pages."""

from collections.abc import Mapping, Sequence
from html import escape

from bench.report import Column, rounded
from bench.scenarios import Figures

ACROSS = 2
PANEL, LEFT, BAR, ROW, HEAD, GAP = 400, 125, 210, 20, 30, 16
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.bar { fill: #9aa4b2 }
.mine { fill: #0969da }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .bar { fill: #59636e } .mine { fill: #4493f8 } }
"""


def picture(figures: Mapping[str, Figures], columns: Sequence[Column], mine: Sequence[str]) -> str:
    """Return a panel of bars for each of *columns*, two beside each other; the bars of *mine* stand out."""
    panel_height = HEAD + ROW * len(figures) + GAP
    width, height = PANEL * ACROSS, panel_height * -(-len(columns) // ACROSS)
    panels = []
    for number, column in enumerate(columns):
        x, y = number % ACROSS * PANEL, number // ACROSS * panel_height
        panels.append(f'<g transform="translate({x} {y})">\n{_panel(figures, column, mine)}\n</g>')
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{STYLE}</style>", *panels, "</svg>\n"]
    )


def _panel(figures: Mapping[str, Figures], column: Column, mine: Sequence[str]) -> str:
    most = max(of[column.key] for of in figures.values())
    lines = [f'<text class="title" x="{LEFT}" y="18">{escape(f"{column.heading}, {column.unit}")}</text>']
    for row, (name, of) in enumerate(figures.items()):
        y, width = HEAD + row * ROW, max(1, round(of[column.key] / most * BAR))
        kind = "mine" if name in mine else "bar"
        lines += [
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width}" height="15" rx="2"/>',
            f'<text x="{LEFT + width + 6}" y="{y + 12}">{rounded(of[column.key])}</text>',
        ]
    return "\n".join(lines)
