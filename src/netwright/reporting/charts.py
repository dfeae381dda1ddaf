"""Small SVG charts, drawn here and coloured by the page's style sheet, so that they follow light, dark and print.

Every function returns markup with all texts escaped, or "" where there is nothing to draw. A chart computes nothing
beyond its own axes; points that are not finite are left out. The attributes named ``data-…`` are for the page's
script, which adds a reading of values under the pointer; without it everything is still there to see.
"""

from __future__ import annotations

import dataclasses
import html
import json
import math
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from netwright.reporting import formatting

Number = float | int | None
Points = list[tuple[float, float]]
Pair = tuple[list[float], list[float]]  # the xs and the ys

WIDTH, HEIGHT, TALL = 460.0, 270.0, 380.0  # user units; the style sheet makes letters larger on narrow screens
TOP, RIGHT, BOTTOM = 14.0, 14.0, 40.0
LETTER = 7.6  # the widest digit, in user units, at the largest letter size in use
DOTS = 60  # points up to which each one is marked
CELLS_WITH_NUMBERS = 16  # classes up to which a confusion matrix is a table of numbers
NAMED = 50  # classes up to which its picture has names at the sides
SHADES = 8
PALE = 0.2  # a share of wrong answers up to which they look paler than the worst could
ALONE = 5.0  # half the width of a band over one place
CLEAR = 14.0  # from the middle of a mark's text to the nearest line
LOG_FROM = 20  # times the smallest value that the largest one is, from which a loss is drawn on a logarithmic axis
LARGEST = 1e300  # beyond it, values are drawn at the edge


@dataclasses.dataclass(frozen=True)
class Line:
    """One line: ``tone`` is its style in the style sheet (train, validation, test, raw, smooth, rate)."""

    name: str
    xs: Sequence[float]
    ys: Sequence[Number]
    tone: str = "train"


@dataclasses.dataclass(frozen=True)
class Band:
    """What lies between two lines over the same ``xs``, behind the lines of a chart."""

    xs: Sequence[float]
    lows: Sequence[Number]
    highs: Sequence[Number]
    tone: str = "train"


# ------------------------------------------------------------------------------------------------ markup


def tag(name: str, content: str = "", /, **attributes: Any) -> str:
    """An element; ``content`` is markup, attributes are escaped (``class_``, ``stroke_width``; None is left out)."""
    parts = [name]
    for key, value in attributes.items():
        if value is not None:
            shown = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{html.escape(shown)}"')
    return f"<{' '.join(parts)}>{content}</{name}>"


def escaped(text: object) -> str:
    return html.escape(str(text))


def _svg(body: Iterable[str], label: str, height: float = HEIGHT, kind: str = "chart", **attributes: Any) -> str:
    box = f"0 0 {WIDTH:g} {height:g}"
    return tag("svg", "".join(body), class_=kind, viewBox=box, role="img", aria_label=label, **attributes)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# ------------------------------------------------------------------------------------------------ axes


def finite(values: Iterable[Number]) -> list[float]:
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def _bounded(value: float) -> float:
    return min(max(float(value), -LARGEST), LARGEST)


def nice_ticks(low: float, high: float, count: int = 5, *, integer: bool = False) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) that cover ``low``…``high``, at most ``count + 2`` of them.

    The first is at most ``low``, the last at least ``high``; at least two. ``integer``: whole numbers only.
    """
    low, high = sorted((_bounded(low), _bounded(high)))
    largest = max(abs(low), abs(high))
    if high - low <= max(largest * 1e-9, 1e-290):  # (nearly) constant
        pad = largest * 0.1 if largest > 1e-280 else 1.0
        low, high = low - pad, high + pad
    power = math.floor(math.log10((high - low) / count))
    steps = [(1, 0), (2, 0), (5, 0), (10, 0), (20, 0)]
    if integer:
        power = max(0, power)
    else:
        steps.insert(2, (25, -1))
    ticks: list[float] = []
    for factor, shift in steps:
        step = float(f"{factor}e{power + shift}")
        first, last = math.floor(low / step), math.ceil(high / step)
        ticks = [float(f"{turn * factor}e{power + shift}") for turn in range(first, max(last, first + 1) + 1)]
        if len(ticks) <= count + 2:
            break
    return ticks


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with their double and fivefold where few, that cover ``low``…``high`` (both over 0)."""
    low, high = sorted((low, high))
    first, last = max(math.floor(math.log10(low)), -300), min(math.ceil(math.log10(high)), 300)
    last = max(last, first + 1)
    stride = max(1, math.ceil((last - first) / 6))
    parts = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [float(f"{part}e{power}") for power in range(first, last + stride, stride) for part in parts]
    under = max((tick for tick in ticks if tick <= low), default=ticks[0])
    over = min((tick for tick in ticks if tick >= high), default=ticks[-1])
    if under == over:
        over = ticks[min(ticks.index(over) + 1, len(ticks) - 1)]
    return [tick for tick in ticks if under <= tick <= over]


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """The ticks with as many digits as tell them apart, the same number of decimals for all."""
    largest = max((abs(tick) for tick in ticks), default=0.0)
    near = 1e-3 * min((abs(other - one) for one, other in pairwise(ticks)), default=largest)
    if largest < 1e6 and (largest >= 1e-3 or largest == 0):
        for decimals in range(7):
            if all(abs(tick - float(f"{tick:.{decimals}f}")) <= near for tick in ticks):
                return [f"{tick:.{decimals}f}".replace("-", "−") for tick in ticks]
    texts: list[str] = []
    for digits in range(3, 18):
        texts = [formatting.number(tick, digits) for tick in ticks]
        if all(abs(float(text.replace("−", "-")) - tick) <= near for text, tick in zip(texts, ticks)):
            break
    return texts


def percent_texts(ticks: Sequence[float]) -> list[str]:
    return [f"{text} %" for text in tick_texts([float(f"{100 * tick:.6g}") for tick in ticks])]


def log_texts(ticks: Sequence[float]) -> list[str]:
    return [f"{tick:g}" if 1e-3 <= tick < 1e4 else formatting.number(tick, 3) for tick in ticks]


@dataclasses.dataclass(frozen=True)
class _Axis:
    """A mapping of values to user units."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, value = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        half = high / 2 - low / 2  # halves, because a difference of the largest numbers is not one
        share = (value / 2 - low / 2) / half if half > 0 else 0.5
        return self.start + share * (self.end - self.start)


Ticks = Sequence[tuple[float, str]]


def _left(texts: Sequence[str]) -> float:
    """Room for the texts of the vertical axis."""
    return 14 + LETTER * max(len(text) for text in texts)


def _frame(x: _Axis, y: _Axis, x_ticks: Ticks, y_ticks: Ticks, x_title: str, y_title: str = "") -> list[str]:
    """Grid lines, ticks, titles."""
    grid = "".join(f"M{x.start:.1f} {y.at(tick):.1f}H{x.end:.1f}" for tick, _ in y_ticks)
    numbers = [tag("text", escaped(text), x=x.start - 7, y=y.at(tick), dy=".34em") for tick, text in y_ticks]
    unders = [tag("text", escaped(text), x=x.at(tick), y=y.start + 17) for tick, text in x_ticks]
    title = tag("text", escaped(x_title), class_="axis-title", x=x.end, y=y.start + 35, text_anchor="end")
    return [
        tag("path", class_="grid", d=grid),
        tag("g", "".join(numbers), class_="ticks", text_anchor="end"),
        tag("g", "".join(unders), class_="ticks", text_anchor="middle"),
        tag("path", class_="axis", d=f"M{x.start:.1f} {y.start:.1f}H{x.end:.1f}"),
        title,
        tag("text", escaped(y_title), class_="axis-title", x=0, y=TOP - 3) if y_title else "",
    ]


# ------------------------------------------------------------------------------------------------ lines


def line_chart(
    lines: Sequence[Line],
    *,
    label: str,
    x_title: str,
    share: bool = False,
    log: bool | None = None,
    mark: tuple[float, str] | None = None,
    bands: Sequence[Band] = (),
    places: Sequence[float] = (),
) -> str:
    """Lines over whole-numbered x (epochs or steps).

    A line of one point is a dot. ``share``: values are shown in percent. ``log``: the vertical axis; None takes it
    where values span 20-fold. ``mark``: a place on the horizontal axis with its name. ``places``: the horizontal axis
    is logarithmic, with these values at it as far as there is room, and every line has dots but those of a tone that
    ends in ``plain``.
    """
    drawn = [(line, points) for line in lines if (points := _points(line.xs, line.ys))]
    if not drawn:
        return ""
    xs = [x for _, points in drawn for x, _ in points]
    edges = [(band, _points(band.xs, band.lows), _points(band.xs, band.highs)) for band in bands]
    ys = [y for points in (*(p for _, p in drawn), *(p for _, *both in edges for p in both)) for _, y in points]
    log = min(ys) > 1e-290 and (log if log is not None else not share and max(ys) > LOG_FROM * min(ys))
    ticks, texts = _value_ticks(ys, share=share, log=log)
    left = _left(texts)
    margin = math.exp(0.04 * (math.log(max(ys)) - math.log(min(ys)))) if log else 1.0  # a ratio may be too large
    wider = 0 if max(xs) > min(xs) else 1
    x_axis = _Axis(min(xs) - wider, max(xs) + wider, left, WIDTH - RIGHT)
    if places:
        xs = [*xs, *places]
        x_axis = _Axis(min(xs) / (1 + wider), max(xs) * (1 + wider), left, WIDTH - RIGHT, log=True)
    low, high = min(ys), max(ys)
    if log:
        low, high = max(low / margin, sys.float_info.min), min(high * margin, sys.float_info.max)
    y_axis = _Axis(min(ticks[0], low), max(ticks[-1], high), HEIGHT - BOTTOM, TOP, log=log)
    x_ticks = [tick for tick in nice_ticks(min(xs), max(xs), 6, integer=True) if min(xs) <= tick <= max(xs)] or [xs[0]]
    x_texts = tick_texts(x_ticks)
    if places:
        x_ticks = _with_room(x_axis, places)
        x_texts = [formatting.short(tick) for tick in x_ticks]
    parts = _frame(x_axis, y_axis, list(zip(x_ticks, x_texts)), list(zip(ticks, texts)), x_title)
    if mark and min(xs) <= mark[0] <= max(xs):
        paths = [[(x_axis.at(x), y_axis.at(y)) for x, y in points] for _, points in drawn]
        parts += _mark(x_axis.at(mark[0]), mark[1], x_axis, paths)
    if log:
        parts.append(tag("text", "log scale", class_="axis-title", x=0, y=HEIGHT - 5))
    for band, lows, highs in edges:
        if lows and len(lows) == len(highs):
            around = (-ALONE, ALONE) if len(lows) == 1 else (0.0,)  # a band over one place is seen too
            corners = [(x_axis.at(x) + shift, y_axis.at(y)) for x, y in lows for shift in around]
            corners += [(x_axis.at(x) - shift, y_axis.at(y)) for x, y in reversed(highs) for shift in around]
            outline = "L".join(f"{px:.1f} {py:.1f}" for px, py in corners)
            parts.append(tag("path", class_=f"band {band.tone}", d=f"M{outline}Z"))
    readings = []
    for line, points in drawn:
        drawn_at = [(x_axis.at(x), y_axis.at(y)) for x, y in points]
        values = [formatting.percent(y) if share else formatting.number(y) for _, y in points]
        parts.append(tag("path", class_=f"line {line.tone}", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in drawn_at)))
        dotted = not line.tone.endswith("plain") if places else line.tone in ("train", "validation", "test")
        if len(points) == 1 or (len(points) <= DOTS and dotted):
            tips = [f"{line.name}, {x_title} {x:g}: {value}" for (x, _), value in zip(points, values)]
            parts.append(_dots(drawn_at, tips, f"dots {line.tone}", 2.6 if len(points) > 1 else 4.0))
        rows = [[round(px, 1), round(py, 1), x, value] for (px, py), (x, _), value in zip(drawn_at, points, values)]
        readings.append([line.name, line.tone, rows])
    return _svg(parts, label, data_lines=_json([x_title, readings]))


def _with_room(axis: _Axis, values: Sequence[float]) -> list[float]:
    """Those of rising ``values`` whose texts do not meet; the last one is always among them."""
    kept: list[float] = []
    for value in reversed(values):
        room = LETTER * (len(formatting.short(value)) + 1.5)
        if not kept or axis.at(kept[-1]) - axis.at(value) >= room:
            kept.append(value)
    return kept[::-1]


def _value_ticks(ys: Sequence[float], *, share: bool, log: bool) -> tuple[list[float], list[str]]:
    low, high = min(ys), max(ys)
    if log:
        ticks = log_ticks(low, high)
        inside = [tick for tick in ticks if low <= tick <= high]
        ticks = inside if len(inside) > 2 else ticks
        return ticks, percent_texts(ticks) if share else log_texts(ticks)
    ticks = nice_ticks(low, high, 5)
    if not share:
        return ticks, tick_texts(ticks)
    if low >= 0 and high <= 1:  # no share is under 0 or over 100 %
        ticks = [tick for tick in ticks if 0 <= tick <= 1]
        ticks = ticks if len(ticks) > 1 else [0.0, 0.5, 1.0]
    return ticks, percent_texts(ticks)


def _points(xs: Sequence[Number], ys: Sequence[Number]) -> Points:
    pairs = ((x, y) for x, y in zip(xs, ys) if x is not None and y is not None)
    return [(_bounded(x), _bounded(y)) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]


def _mark(place: float, text: str, x_axis: _Axis, paths: Sequence[Points]) -> list[str]:
    """A dashed line at ``place`` with its text on the side and at the height where it is farthest from all ``paths``,
    the drawn lines; where several are far enough, the first: above, and towards the middle."""
    wide, above, below = LETTER * len(text), TOP + 9, HEIGHT - BOTTOM - 8
    heights = [above, below, *(above + (below - above) * part for part in (0.5, 0.25, 0.75))]
    best = -1.0, 0.0, above, "start"
    for anchor in ("end", "start") if place > WIDTH / 2 else ("start", "end"):
        start, end = (place + 6, place + 6 + wide) if anchor == "start" else (place - 6 - wide, place - 6)
        if start < x_axis.start or end > WIDTH:
            continue
        for y in heights:
            free = min(CLEAR, *(_gap(np.array(path), start, end, y - 4) for path in paths))
            if free > best[0]:
                best = free, start if anchor == "start" else end, y, anchor
    _, x, y, anchor = best if best[0] >= 0 else (0.0, place + 6, above, "start")
    return [
        tag("path", class_="mark", d=f"M{place:.1f} {TOP:g}V{HEIGHT - BOTTOM:g}"),
        tag("text", escaped(text), class_="mark-text", x=x, y=y, text_anchor=anchor),
    ]


def _gap(path: npt.NDArray[Any], start: float, end: float, y: float) -> float:
    """How near a drawn line, (N, 2), comes to the height ``y`` between two places; infinite where it is not there."""
    xs, ys = path.T
    inside = np.concatenate([[start, end], xs[(start < xs) & (xs < end)]])
    inside = np.unique(inside[(xs[0] <= inside) & (inside <= xs[-1])])
    gaps = np.interp(inside, xs, ys) - y
    crossed = bool((gaps[:-1] * gaps[1:] < 0).any())
    return 0.0 if crossed else float(np.abs(gaps).min(initial=math.inf))


def _dots(places: Points, tips: Sequence[str], kind: str, radius: float) -> str:
    dots = (tag("circle", tag("title", escaped(tip)), cx=x, cy=y, r=radius) for (x, y), tip in zip(places, tips))
    return tag("g", "".join(dots), class_=kind)


def legend(lines: Sequence[tuple[str, str, str]]) -> str:
    """(name, tone, value to show) of each line, as a list over the chart."""
    items = []
    for name, tone, value in lines:
        stroke = tag("path", class_=f"line {tone}", d="M1 4H21")
        swatch = tag("svg", stroke, class_="swatch", viewBox="0 0 22 8", aria_hidden="true")
        items.append(tag("li", swatch + escaped(name) + (f" <b>{escaped(value)}</b>" if value else "")))
    return tag("ul", "".join(items), class_="legend")


def thinned(xs: Sequence[float], ys: Sequence[Number], most: int = 400) -> Pair:
    """The finite points, at most ``most`` of them: the lowest and the highest of each stretch, in their order."""
    x, y = _finite_arrays(xs, ys)
    if len(x) > most:
        bounds = np.linspace(0, len(x), max(1, most // 2) + 1).astype(int).tolist()
        lowest = [start + int(y[start:end].argmin()) for start, end in pairwise(bounds)]
        highest = [start + int(y[start:end].argmax()) for start, end in pairwise(bounds)]
        kept = sorted({*lowest, *highest})
        x, y = x[kept], y[kept]
    return x.tolist(), y.tolist()


def smoothed(xs: Sequence[float], ys: Sequence[Number], window: int, most: int = 200) -> Pair:
    """The mean of the finite values within ``window`` around, at ``most`` places evenly spread."""
    x, y = _finite_arrays(xs, ys)
    if not len(x):
        return [], []
    places = np.unique(np.linspace(0, len(x) - 1, most).round().astype(int))
    side = window // 2
    means = [float(np.mean(y[max(0, place - side) : place + side + 1])) for place in places.tolist()]
    return x[places].tolist(), means


def _finite_arrays(xs: Sequence[float], ys: Sequence[Number]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    x, y = np.array(xs, np.float64), np.array(ys, np.float64)  # None becomes NaN
    known = np.isfinite(x) & np.isfinite(y) & (np.abs(y) <= LARGEST)
    return x[known], y[known]


# ------------------------------------------------------------------------------------------------ confusion


def matrix(classes: Sequence[str], counts: Sequence[Sequence[int]], *, label: str) -> str:
    """True classes in rows, predicted ones in columns: a table of numbers for a few classes, else a picture."""
    if not classes:
        return ""
    return (_matrix_table if len(classes) <= CELLS_WITH_NUMBERS else _matrix_picture)(classes, counts, label)


def _shades(counts: Sequence[Sequence[int]]) -> list[list[float]]:
    """0…1 for each cell: right ones by their share of the row, wrong ones against the largest wrong share."""
    shares = [[value / max(1, sum(row)) for value in row] for row in counts]
    wrong = [share for at, row in enumerate(shares) for column, share in enumerate(row) if column != at]
    largest = max(PALE, *wrong, PALE)
    return [[share if c == at else share / largest for c, share in enumerate(row)] for at, row in enumerate(shares)]


def _cell_tip(true: str, predicted: str, value: int, total: int, *, right: bool) -> str:
    share = formatting.percent(value / total) if total else formatting.MISSING
    what = f"{true} found" if right else f"{true} taken for {predicted}"
    return f"{what}: {formatting.count(value)} of {formatting.count(total)} ({share})"


def _matrix_table(classes: Sequence[str], counts: Sequence[Sequence[int]], label: str) -> str:
    heads = [tag("th", tag("span", escaped(name), title=name), scope="col") for name in classes]
    rows, shades = [], _shades(counts)
    for at, (name, row) in enumerate(zip(classes, counts)):
        total = sum(row)
        cells = [tag("th", tag("span", escaped(name), title=name), scope="row")]
        for column, value in enumerate(row):
            kind = "none" if not value else "right" if column == at else "wrong"
            style = f"--shade:{0.08 + 0.44 * shades[at][column]:.2f}" if value else None
            tip = _cell_tip(name, classes[column], value, total, right=column == at)
            cells.append(tag("td", formatting.count(value) if value else "·", class_=kind, style=style, title=tip))
        rows.append(tag("tr", "".join(cells)))
    over = tag(
        "tr", '<td class="corner"></td>' + tag("th", "predicted", colspan=len(classes), scope="colgroup"), class_="over"
    )
    head = tag("thead", over + tag("tr", tag("th", "true", class_="corner", scope="col") + "".join(heads)))
    size = "few" if len(classes) <= 4 else "some" if len(classes) <= 10 else "many"
    tall = max(len(name) for name in classes) > {"few": 12, "some": 4, "many": 2}[size]
    kind = f"matrix {size} tall" if tall else f"matrix {size}"
    letters = min(16, max(4, *(len(name) for name in classes)))
    return tag("table", head + tag("tbody", "".join(rows)), class_=kind, style=f"--letters:{letters}", aria_label=label)


def _matrix_picture(classes: Sequence[str], counts: Sequence[Sequence[int]], label: str) -> str:
    number, named = len(classes), len(classes) <= NAMED
    start = min(110.0, 12 + 4.6 * max(len(name) for name in classes)) if named else 22.0
    side = (WIDTH - start - 4) / number
    end = start + number * side
    places: dict[tuple[str, int], list[str]] = {}
    shades = _shades(counts)
    for row, values in enumerate(counts):
        for column, value in enumerate(values):
            if value:
                key = "right" if row == column else "wrong", min(SHADES, 1 + int(shades[row][column] * SHADES))
                places.setdefault(key, []).append(f"M{column} {row}h1v1h-1z")
    parts = [tag("rect", class_="field", x=start, y=start, width=end - start, height=end - start)]
    cells = []
    for (kind, shade), squares in sorted(places.items()):
        cells.append(tag("path", class_=kind, style=f"--shade:{0.15 + 0.85 * shade / SHADES:.2f}", d="".join(squares)))
    parts.append(tag("g", "".join(cells), transform=f"translate({start:.2f} {start:.2f}) scale({side:.4f})"))
    if named:
        parts += _matrix_names(classes, start, side)
    else:
        middle = (start + end) / 2
        turned = f"translate({start - 8:.1f} {middle:.1f}) rotate(-90)"
        parts.append(tag("text", "predicted", class_="side", x=middle, y=start - 7, text_anchor="middle"))
        parts.append(tag("text", "true", class_="side", transform=turned, text_anchor="middle"))
    data = _json([round(start, 2), round(side, 4), list(classes), [list(row) for row in counts]])
    return _svg(parts, label, round(end + 4, 1), "chart heat", data_matrix=data)


def _matrix_names(classes: Sequence[str], start: float, side: float) -> list[str]:
    size = min(9.0, side * 0.82)
    parts = []
    for at, name in enumerate(classes):
        middle, text = start + (at + 0.5) * side, escaped(formatting.clipped(name, 22))
        turned = f"translate({middle:.1f} {start - 4:.1f}) rotate(-90)"
        parts.append(tag("text", text, x=start - 4, y=middle, dy=".34em", text_anchor="end"))
        parts.append(tag("text", text, transform=turned, dy=".34em"))
    return [tag("g", "".join(parts), class_="names", font_size=size)]


# ------------------------------------------------------------------------------------------------ bars, scatter, wave


def bar(share: float | None, tone: str) -> str:
    """A share 0…1 as a bar inside a table's row."""
    width = 0.0 if share is None or not math.isfinite(share) else 100 * min(max(share, 0.0), 1.0)
    return tag("span", tag("i", style=f"width:{width:.1f}%"), class_=f"bar {tone}", aria_hidden="true")


def scatter(xs: Sequence[Number], ys: Sequence[Number], *, label: str, x_title: str, y_title: str) -> str:
    """Points with the line on which both are equal; both axes have the same range."""
    points = _points(xs, ys)
    if not points:
        return ""
    values = [value for point in points for value in point]
    ticks = nice_ticks(min(values), max(values), 5)
    margin = max(values) / 32 - min(values) / 32
    low, high = max(ticks[0], min(values) - margin), min(ticks[-1], max(values) + margin)
    if sum(low <= tick <= high for tick in ticks) < 3:
        low, high = ticks[0], ticks[-1]
    ticks = [tick for tick in ticks if low <= tick <= high]
    texts = tick_texts(ticks)
    x_axis = _Axis(low, high, _left(texts), WIDTH - RIGHT)
    y_axis = _Axis(low, high, TALL - BOTTOM, TOP + 10)
    pairs = list(zip(ticks, texts))
    under = pairs[:: 2 if len(pairs) > 6 or max(len(text) for text in texts) > 5 else 1]
    parts = _frame(x_axis, y_axis, under, pairs, x_title, y_title)
    diagonal = f"M{x_axis.start:.1f} {y_axis.start:.1f}L{x_axis.end:.1f} {y_axis.end:.1f}"
    parts.append(tag("path", class_="equal", d=diagonal))
    places = [(x_axis.at(x), y_axis.at(y)) for x, y in points]
    tips = [f"true {formatting.number(x)}, predicted {formatting.number(y)}" for x, y in points]
    parts.append(_dots(places, tips, "points", 3.0))
    return _svg(parts, label, TALL)


def histogram(values: Sequence[Number], *, label: str, x_title: str, count: int = 24) -> str:
    """How often each range of values comes up, with zero marked."""
    known = [_bounded(value) for value in finite(values)]
    if not known:
        return ""
    ticks = nice_ticks(min(known), max(known), 5)
    low, high = ticks[0], ticks[-1]
    numbers = [0] * count
    for value in known:
        numbers[min(count - 1, max(0, int((value / 2 - low / 2) / (high / 2 - low / 2) * count)))] += 1
    y_ticks = nice_ticks(0, max(numbers), 4, integer=True)
    y_texts = tick_texts(y_ticks)
    x_axis = _Axis(low, high, _left(y_texts), WIDTH - RIGHT)
    y_axis = _Axis(0, y_ticks[-1], TALL - BOTTOM, TOP + 10)
    pairs = list(zip(ticks, tick_texts(ticks)))
    parts = _frame(x_axis, y_axis, pairs, list(zip(y_ticks, y_texts)), x_title, "examples")
    wide = (x_axis.end - x_axis.start) / count
    for at, number in enumerate(numbers):
        if number:
            start, end = (low + (high / count - low / count) * turn for turn in (at, at + 1))
            range_text = f"{formatting.number(start)} to {formatting.number(end)}"
            tip = tag("title", escaped(f"{range_text}: {formatting.plural(number, 'example')}"))
            x, y = x_axis.start + at * wide + 0.7, y_axis.at(number)
            parts.append(tag("rect", tip, class_="column", x=x, y=y, width=wide - 1.4, height=y_axis.start - y))
    if low < 0 < high:
        parts.append(tag("path", class_="mark", d=f"M{x_axis.at(0):.1f} {TOP + 10:g}V{TALL - BOTTOM:g}"))
    return _svg(parts, label, TALL)


def wave(values: Sequence[float], *, label: str) -> str:
    """A sound or a series as one small line, without axes."""
    known = [_bounded(value) if math.isfinite(value) else 0.0 for value in values]
    if not known:
        return ""
    low, high = min(known), max(known)
    y_axis = _Axis(low, high, 56, 4)
    step = 116 / max(1, len(known) - 1)
    d = "M" + "L".join(f"{2 + at * step:.1f} {y_axis.at(value):.1f}" for at, value in enumerate(known))
    return tag("svg", tag("path", d=d), class_="wave", viewBox="0 0 120 60", role="img", aria_label=label)
