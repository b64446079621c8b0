"""Pictures as SVG: a table of rows over a logarithmic axis. A mark is a median, a bar the range of the rounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS, BARE, OTHER = "#0b62c4", "#8c8c8c", "#c4570b"

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP, _BOTTOM = 880, 310, 90, 26, 74, 34
_PERCENTILES = (("p50", 1.0), ("p99", 0.6), ("p99.9", 0.3))


@frozen
class Mark:
    """A value, the range it comes from, and how it looks; `text` stands to its right."""

    value: float
    low: float
    high: float
    color: str
    text: str = ""
    opacity: float = 1.0


@frozen
class Row:
    """One line of a picture."""

    label: str
    marks: list[Mark] = field(factory=list)


@frozen
class Picture:
    """A question, what the axis counts, and the rows."""

    question: str
    axis: str
    rows: list[Row]


def spread(label: str, values: dict[str, float], color: str, form: str = "{:,.0f}") -> Row:
    """A row with the median and the range of a figure."""
    text = form.format(values["median"])
    return Row(label, [Mark(values["median"], values["min"], values["max"], color, text)])


def percentiles(label: str, latencies: dict[str, Any], color: str) -> Row:
    """A row with a mark for each percentile, the paler the rarer; microseconds."""
    marks = []
    for name, opacity in _PERCENTILES:
        values = latencies["rounds"][f"{name}_us"]
        marks.append(
            Mark(values["median"], values["min"], values["max"], color, f"{values['median']:,.0f}", opacity)
        )
    return Row(label, marks)


def draw(picture: Picture) -> str:
    """The picture as SVG."""
    marks = [mark for row in picture.rows for mark in row.marks]
    low = math.floor(math.log10(max(min(mark.low for mark in marks), 1e-3)))
    high = math.ceil(math.log10(max(mark.high for mark in marks) * 1.001))
    height = _TOP + _ROW * len(picture.rows) + _BOTTOM

    def place(value: float) -> float:
        part = (math.log10(max(value, 10.0**low)) - low) / max(high - low, 1)
        return round(_LEFT + part * (_WIDTH - _LEFT - _RIGHT), 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="17" font-weight="bold">{escape(picture.question)}</text>',
        f'<text x="16" y="46" fill="#555555">{escape(picture.axis)}; mark: median, bar: minimum to maximum '
        "of the rounds</text>",
    ]
    for power in range(low, high + 1):
        x = place(10.0**power)
        lines.append(
            f'<line x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height - _BOTTOM + 4}" stroke="#dddddd"/>'
            f'<text x="{x}" y="{height - 12}" fill="#555555" text-anchor="middle">{_short(10.0**power)}</text>'
        )
    for number, row in enumerate(picture.rows):
        y = _TOP + _ROW * number + _ROW // 2 - 4
        lines.append(f'<text x="{_LEFT - 14}" y="{y + 4}" text-anchor="end">{escape(row.label)}</text>')
        lines += _marks(row, y, place)
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def _marks(row: Row, y: int, place: Callable[[float], float]) -> Iterator[str]:
    for mark in row.marks:
        x, first, last = place(mark.value), place(mark.low), place(mark.high)
        style = f'fill="{mark.color}" fill-opacity="{mark.opacity}"'
        yield f'<rect x="{first}" y="{y - 2}" width="{max(last - first, 0.5):.1f}" height="4" {style}/>'
        yield f'<circle cx="{x}" cy="{y}" r="5" {style}/>'
        if mark.text:
            anchor = max(x, last) + 8 if len(row.marks) == 1 else x + 7
            up = 4 if len(row.marks) == 1 else -5
            size = 12 if len(row.marks) == 1 else 10
            yield f'<text x="{anchor:.1f}" y="{y + up}" font-size="{size}">{escape(mark.text)}</text>'


def _short(value: float) -> str:
    for limit, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{suffix}"
    return f"{value:g}"
