"""Small pictures in hand-made SVG: bars and lines, readable on light and dark pages."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

from msgspec import Struct

OURS, OTHERS, BAD = "#1f6feb", "#8b949e", "#cf222e"
PALETTE = (OURS, "#8b949e", "#bf8700", "#1a7f37", "#8250df", "#cf222e", "#0a7ea4")
_WIDTH = 760
_STYLE = "font-family='system-ui,Segoe UI,Helvetica,Arial,sans-serif' font-size='12'"


class Bar(Struct, frozen=True):
    """One bar: its length in the chart's unit, and the words at its end."""

    name: str
    value: float
    words: str
    colour: str = OTHERS


def _page(height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height:.0f}' {_STYLE} "
        f"role='img' aria-label='{escape(title, quote=True)}'>\n"
        f"<rect width='{_WIDTH}' height='{height:.0f}' rx='6' fill='#ffffff'/>\n"
        f"{_text(16, 26, title, size=15, weight=600)}\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 12,
    weight: int = 400,
    anchor: str = "start",
    colour: str = "#1f2328",
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' "
        f"text-anchor='{anchor}' fill='{colour}'>{escape(words)}</text>"
    )


def bars(title: str, groups: Mapping[str, Sequence[Bar]], *, note: str = "") -> str:
    """Draw groups of bars, one under another; each group has a scale of its own."""
    parts, y = [], 50.0
    for name, group in groups.items():
        parts.append(_text(16, y + 8, name, weight=600))
        y += 20
        most = max((bar.value for bar in group), default=0.0) or 1.0
        for bar in group:
            width = max(1.5, bar.value / most * 330)
            parts.append(_text(196, y + 12, bar.name, anchor="end"))
            parts.append(
                f"<rect x='204' y='{y + 1:.1f}' width='{width:.1f}' height='14' rx='2' "
                f"fill='{bar.colour}'/>"
            )
            parts.append(_text(210 + width, y + 12, bar.words, colour="#59636e"))
            y += 19
        y += 12
    if note:
        parts.append(_text(16, y + 4, note, size=11, colour="#59636e"))
        y += 18
    return _page(y, title, parts)


def lines(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    across: str,
    up: str,
) -> str:
    """Draw lines over two logarithmic axes."""
    points = [point for line in series.values() for point in line]
    left, right = _decades([x for x, _ in points])
    low, high = _decades([y for _, y in points])

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            70 + (log10(x) - left) / (right - left) * 500,
            340 - (log10(y) - low) / (high - low) * 270,
        )

    parts = [_text(70, 386, across, colour="#59636e"), _text(16, 50, up, colour="#59636e")]
    parts += [_tick_across(10**power, *at(10**power, 10**low)) for power in range(left, right + 1)]
    parts += [_tick_up(10**power, *at(10**left, 10**power)) for power in range(low, high + 1)]
    for number, (name, line) in enumerate(series.items()):
        colour = PALETTE[number % len(PALETTE)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in line))
        parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
        parts += [_dot(*at(*point), colour) for point in line]
        parts.append(_text(586, 84 + 20 * number, name, colour=colour, weight=600))
    return _page(400, title, parts)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    return low, max(high, low + 1)


def _tick_across(value: float, x: float, y: float) -> str:
    line = f"<line x1='{x:.1f}' y1='70' x2='{x:.1f}' y2='{y:.1f}' stroke='#e4e8ec'/>"
    return line + _text(x, y + 18, f"{value:,.0f}", anchor="middle", colour="#59636e")


def _tick_up(value: float, x: float, y: float) -> str:
    line = f"<line x1='{x:.1f}' y1='{y:.1f}' x2='570' y2='{y:.1f}' stroke='#e4e8ec'/>"
    return line + _text(x - 8, y + 4, f"{value:,g}", anchor="end", colour="#59636e")


def _dot(x: float, y: float, colour: str) -> str:
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>"
