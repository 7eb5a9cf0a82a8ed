"""A picture of the figures: bars, as SVG that is readable on light and on dark pages."""

from collections.abc import Mapping, Sequence
from html import escape

from bench.report import Column, rounded
from bench.scenarios import Figures

WIDTH, LEFT, BAR, ROW, HEAD, GAP = 720, 140, 460, 22, 34, 14
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.bar { fill: #9aa4b2 }
.mine { fill: #0969da }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .bar { fill: #59636e } .mine { fill: #4493f8 } }
"""


def picture(figures: Mapping[str, Figures], columns: Sequence[Column], mine: Sequence[str]) -> str:
    """Return a group of bars for each of *columns*; those of *mine* stand out."""
    parts, y = [], 0
    for column in columns:
        parts.append(f'<text class="title" x="0" y="{y + 18}">{escape(column.heading)}</text>')
        y += HEAD
        most = max(of[column.key] for of in figures.values())
        for name, of in figures.items():
            parts.append(_bar(name, of[column.key], of[column.key] / most, y, is_mine=name in mine))
            y += ROW
        y += GAP
    size = f'width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _bar(name: str, value: float, share: float, y: int, *, is_mine: bool) -> str:
    width = max(1, round(share * BAR))
    return (
        f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
        f'<rect class="{"mine" if is_mine else "bar"}" x="{LEFT}" y="{y + 1}" width="{width}" height="16" rx="2"/>'
        f'<text x="{LEFT + width + 6}" y="{y + 13}">{rounded(value)}</text>'
    )
