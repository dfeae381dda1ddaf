"""Pictures as SVG files of their own, for pages that are not ours: lines over two axes, and shaded cells. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from netwright.reporting.charts import escaped, log_texts, log_ticks, nice_ticks, tag, tick_texts

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480.0, 250.0, 56.0, 14.0, 40.0, 34.0
COLOURS = ("#3b6ea5", "#d9822b", "#4c9f70", "#8e5ea2", "#b04a4a", "#5f7d8c", "#a08a2e", "#7a7a7a", "#2f9aa0", "#c45a9b")
STYLE = """text{font:11px system-ui,sans-serif;fill:#333}.title{font-size:13px;font-weight:600}
.grid{stroke:#ddd;fill:none}.zero{stroke:#999;fill:none}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.cell{stroke:#fff;stroke-width:.7}
svg{background:#fff}"""


class Curve(NamedTuple):
    """``dashed`` for what stands beside the main thing."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    dashed: bool = False


def lines(
    title: str, curves: Sequence[Curve], *, x_title: str = "", log: bool = False, log_x: bool = False,
    y: tuple[float, float] | None = None,
) -> str:  # fmt: skip
    """Curves with a legend; ``y`` cuts the vertical axis. Points that are not finite (or not above 0, where the axis is
    logarithmic) leave gaps."""

    def fits(a: float, b: float) -> bool:
        return math.isfinite(a) and math.isfinite(b) and (b > 0 or not log) and (a > 0 or not log_x)

    seen = [(a, b) for curve in curves for a, b in zip(curve.xs, curve.ys) if fits(a, b)]
    low_x, high_x = min(a for a, _ in seen), max(a for a, _ in seen)
    low, high = y or (min(b for _, b in seen), max(b for _, b in seen))
    x_ticks = (log_ticks if log_x else nice_ticks)(low_x, high_x)
    y_ticks = log_ticks(low, high) if log else nice_ticks(low, high)
    if not y:
        low, high = min(low, y_ticks[0]), max(high, y_ticks[-1])

    def along(value: float, start: float, end: float, first: float, last: float, logarithmic: bool) -> float:
        if logarithmic:
            value, first, last = math.log(value), math.log(first), math.log(last)
        return start + (end - start) * (value - first) / ((last - first) or 1.0)

    def at(a: float, b: float) -> tuple[float, float]:
        return (
            along(a, LEFT, WIDTH - RIGHT, low_x, high_x, log_x),
            along(min(max(b, low), high), HEIGHT - BOTTOM, TOP, low, high, log),
        )

    body = [tag("style", STYLE), tag("text", escaped(title), x=8, y=16, class_="title")]
    for tick, text in zip(y_ticks, log_texts(y_ticks) if log else tick_texts(y_ticks)):
        if low <= tick <= high:
            _, place = at(low_x, tick)
            kind = "zero" if not tick else "grid"
            body += [tag("path", d=f"M{LEFT:g} {place:.1f}H{WIDTH - RIGHT:g}", class_=kind),
                     tag("text", escaped(text), x=LEFT - 6, y=place + 4, text_anchor="end")]  # fmt: skip
    for tick, text in zip(x_ticks, log_texts(x_ticks) if log_x else tick_texts(x_ticks)):
        if low_x <= tick <= high_x:
            place, _ = at(tick, high)
            body += [tag("path", d=f"M{place:.1f} {TOP:g}V{HEIGHT - BOTTOM:g}", class_="zero" if not tick else "grid"),
                     tag("text", escaped(text), x=place, y=HEIGHT - BOTTOM + 14, text_anchor="middle")]  # fmt: skip
    body.append(tag("text", escaped(x_title), x=WIDTH - RIGHT, y=HEIGHT - 5, text_anchor="end"))
    place = LEFT
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        path, pen = [], "M"
        for a, b in zip(curve.xs, curve.ys):
            if not fits(a, b) or (y and not low <= b <= high):
                pen = "M"
                continue
            px, py = at(a, b)
            path.append(f"{pen}{px:.1f} {py:.1f}")
            pen = "L"
        body.append(
            tag("path", d="".join(path), class_="line", stroke=colour, stroke_dasharray="5 4" if curve.dashed else None)
        )
        body += [tag("path", d=f"M{place:.0f} 30h14", class_="line", stroke=colour),
                 tag("text", escaped(curve.name), x=place + 18, y=34)]  # fmt: skip
        place += 30 + 6.2 * len(curve.name)
    return _file(body, title, WIDTH, HEIGHT)


def cells(title: str, panels: Sequence[tuple[str, Sequence[Sequence[int]]]], under: str = "") -> str:
    """Grids beside each other; a cell's number chooses its colour, −1 leaves it pale."""
    side = 13.0
    x, high = 8.0, 0.0
    body = [tag("style", STYLE), tag("text", escaped(title), x=8, y=16, class_="title")]
    for name, rows in panels:
        body.append(tag("text", escaped(name), x=x, y=38))
        for at, row in enumerate(rows):
            for column, value in enumerate(row):
                colour = "#eee" if value < 0 else _colour(value)
                body.append(
                    tag(
                        "rect",
                        x=x + column * side,
                        y=46 + at * side,
                        width=side,
                        height=side,
                        fill=colour,
                        class_="cell",
                    )
                )
        x += max(len(rows[0]) * side, 6.2 * len(name)) + 22
        high = max(high, 46 + len(rows) * side)
    if under:
        body.append(tag("text", escaped(under), x=8, y=high + 18))
    return _file(body, title, max(x, 16 + 5.6 * len(under), 16 + 7.4 * len(title)), high + 28)


def _colour(number: int) -> str:
    """Ten that are told apart well; beyond them hues by the golden angle, so that none comes twice."""
    if number < len(COLOURS):
        return COLOURS[number]
    return f"hsl({number * 137.508 % 360:.0f},{45 + 10 * (number % 3)}%,{38 + 9 * (number % 4)}%)"


def _file(body: Sequence[str], title: str, width: float, height: float) -> str:
    return tag(
        "svg", "".join(body), xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}", role="img", aria_label=title,
    )  # fmt: skip
