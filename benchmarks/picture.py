"""Draw the efficiency and the refused requests of limiters as an SVG picture."""

from html import escape

from msgspec import Struct

_COLOURS = ("#9ecae1", "#4292c6", "#084594")
_INK, _RED = "#1b1f24", "#c4432b"
_LEFT, _BARS, _WIDTH, _BAR = 210, 220, 760, 12
_SECOND = _LEFT + _BARS + 80


class Row(Struct, frozen=True):
    """A limiter, with its efficiency and refused requests under each limit."""

    name: str
    figures: list[tuple[float, int]]


def draw(title: str, limits: list[str], rows: list[Row]) -> str:
    """Return a picture with a bar for each limit: efficiency on the left, refusals on the right."""
    height_of_row = len(limits) * (_BAR + 2) + 14
    height = 64 + len(rows) * height_of_row
    most = max([refused for row in rows for _, refused in row.figures], default=0) or 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"',
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        *_legend(limits),
        _text(_LEFT, 50, "efficiency (outline: some refused)", bold=True),
        _text(_SECOND, 50, "requests refused (strictest rule)", bold=True),
    ]
    for number, row in enumerate(rows):
        parts += _row(row, 64 + number * height_of_row, most)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(limits: list[str]) -> list[str]:
    parts = []
    for number, limit in enumerate(limits):
        x = _LEFT + number * 120
        parts += [_bar(x, 14, _BAR, _COLOURS[number]), _text(x + _BAR + 6, 24, limit)]
    return parts


def _row(row: Row, top: int, most: int) -> list[str]:
    middle = top + len(row.figures) * (_BAR + 2) // 2 + 4
    parts = [_text(_LEFT - 12, middle, row.name, end=True)]
    for number, (efficiency, refused) in enumerate(row.figures):
        y = top + number * (_BAR + 2)
        length = _BARS * min(efficiency, 1.0)
        parts.append(_bar(_LEFT, y, length, _COLOURS[number], outline=refused > 0))
        parts.append(_text(_LEFT + length + 6, y + 10, f"{efficiency * 100:.1f} %"))
        length = (_WIDTH - _SECOND - 50) * refused / most
        parts.append(_bar(_SECOND, y, max(length, 1), _RED if refused else _INK))
        parts.append(_text(_SECOND + length + 6, y + 10, f"{refused}"))
    return parts


def _bar(x: float, y: float, length: float, colour: str, *, outline: bool = False) -> str:
    fill = f'fill="none" stroke="{colour}"' if outline else f'fill="{colour}"'
    return f'<rect x="{x}" y="{y}" width="{length:.1f}" height="{_BAR}" {fill}/>'


def _text(x: float, y: float, text: str, *, bold: bool = False, end: bool = False) -> str:
    more = (' font-weight="bold"' if bold else "") + (' text-anchor="end"' if end else "")
    return f'<text x="{x:.1f}" y="{y}" font-size="11" fill="{_INK}"{more}>{escape(text)}</text>'
