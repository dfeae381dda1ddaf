"""How a training was, as maps: layers down, steps across, shade the scale of what was measured. No torch.

A map is a table with a strip of cells in each row, so that names stay readable on a narrow page; colours are the style
sheet's. Texts are escaped here.
"""

from __future__ import annotations

import dataclasses
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import groupby

from netwright.observations import Observations, Series
from netwright.records import Finding
from netwright.reporting import formatting
from netwright.reporting.charts import escaped, tag

LAYERS, STEPS = 120, 72  # rows and columns of a map at most
FEW, SOME = 14, 36  # layers up to which rows are high, and of a medium height
SHADES = 8  # of what is at most the reference, 0: exactly zero
DECADES = 0.75  # of one shade, below the reference: the palest is a millionth
HOT = (3.0, 30.0, 300.0)  # times the reference, from which a value stands out
TICKS = 7
NAME, LETTERS = 60, 26  # characters of a layer's name, and as many as there is room for
PINS = 12  # findings that are pinned


@dataclasses.dataclass(frozen=True)
class Quantity:
    """``probes``: the first of them that saw a layer is shown. ``reference`` is what full colour means: a number, or
    None for the strongest layer at a typical step. ``share``: values from 0 to 1, shown as they are."""

    name: str
    title: str
    probes: tuple[str, ...]
    unit: str
    note: str
    reference: float | None = None
    share: bool = False


# An update of a thousandth of the weights a step is what works (Bottou 2015; Karpathy 2015); activations of unit scale
# are what initial weights are drawn for (Glorot and Bengio 2010, He et al. 2015).
QUANTITIES = (
    Quantity(
        "gradient", "Gradient", ("gradient-scale",), "",
        "Root mean square of each layer’s gradient, from the input down to the output. Full colour is the strongest "
        "layer at a typical step; each shade paler is five times less.",
    ),
    Quantity(
        "update", "Update", ("update-ratio",), "of the weights a step",
        "How far a step moves a layer’s weights, from the input down to the output. Full colour is a thousandth of "
        "them a step, which is usual.", 1e-3,
    ),
    Quantity(
        "activation", "Activation", ("activation-scale",), "",
        "Root mean square of each layer’s output, from the input down. Full colour is one, for which initial weights "
        "are drawn.", 1.0,
    ),
    Quantity(
        "silent", "Dead, saturated", ("dead-units", "activation-saturated"), "",
        "The share of units that are dead, or of values at the ends of their activation.", share=True,
    ),
)  # fmt: skip


def maps(observations: Observations, pinned: Sequence[Finding]) -> list[dict[str, str]]:
    """A map for every quantity that was measured: ``name``, ``title``, ``note``, ``table`` and ``legend`` as markup."""
    order = _order(observations)
    made = []
    for quantity in QUANTITIES:
        rows = _rows(observations, quantity, order)
        if rows:
            made.append(_map(observations, quantity, rows, order, pinned))
    return made


def _order(observations: Observations) -> list[str]:
    """The layers in the order of the forward pass, then whatever else was measured."""
    known = [layer.name for layer in observations.network.layers] if observations.network else []
    seen = [
        layer for quantity in QUANTITIES for probe in quantity.probes for layer in observations.series.layers(probe)
    ]
    return list(dict.fromkeys([*known, *seen]))


def _rows(observations: Observations, quantity: Quantity, order: Sequence[str]) -> dict[str, Series]:
    rows: dict[str, Series] = {}
    for probe in quantity.probes:
        for layer in observations.series.layers(probe):
            series = observations.series.get(probe, layer)
            if layer and series.steps:
                rows.setdefault(layer, series)
    places = {layer: place for place, layer in enumerate(order)}
    chosen = sorted(rows, key=lambda layer: places[layer])
    if len(chosen) > LAYERS:
        chosen = [chosen[round(at * (len(chosen) - 1) / (LAYERS - 1))] for at in range(LAYERS)]
    return {layer: rows[layer] for layer in dict.fromkeys(chosen)}


def _map(
    observations: Observations, quantity: Quantity, rows: dict[str, Series], order: Sequence[str],
    pinned: Sequence[Finding],
) -> dict[str, str]:  # fmt: skip
    kinds = {layer.name: layer.kind for layer in observations.network.layers} if observations.network else {}
    letters = min(LETTERS, max(len(f"{layer} {kinds.get(layer, '')}") for layer in rows))
    steps = _columns(rows)
    values = {layer: _at(series, steps) for layer, series in rows.items()}
    level = _levels(quantity, values)
    pins = _pins(list(rows), order, steps, pinned)
    lines = []
    for layer, cells in values.items():
        strip = _strip([level(value) for value in cells])
        spoken = f"{quantity.title} of {layer}, {_spoken(cells)}"
        svg = tag(
            "svg", strip, viewBox=f"0 0 {len(steps)} 1", preserveAspectRatio="none", role="img", aria_label=spoken
        )
        kind = kinds.get(layer, "")
        label = escaped(formatting.clipped(layer, NAME)) + (f" <i>{escaped(kind)}</i>" if kind else "")
        name = tag("th", tag("span", label, title=f"{layer} {kind}".strip()), scope="row")
        marks = "".join(pins.get(layer, ()))
        lines.append(tag("tr", name + tag("td", svg + marks), class_="found" if marks else None))
    size = "few" if len(rows) <= FEW else "some" if len(rows) <= SOME else "many"
    numbers = [[None if value is _GAP else _short(value) for value in cells] for cells in values.values()]
    data = json.dumps([quantity.title.lower(), quantity.unit, steps, list(rows), numbers], ensure_ascii=False)
    table = tag(
        "table", tag("tbody", "".join(lines)) + tag("tfoot", tag("tr", "<th></th>" + tag("td", _ticks(steps)))),
        class_=f"map {size}", aria_label=f"{quantity.title} of each layer over the steps", data_map=data,
        style=f"--letters:{letters}",
    )  # fmt: skip
    return {
        "name": quantity.name, "title": quantity.title, "note": quantity.note, "table": table,
        "legend": _legend(quantity),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ columns and cells

_GAP = object()  # nothing was measured there
Cell = float | None | object  # None: not finite


def _columns(rows: dict[str, Series]) -> list[int]:
    """The steps that are shown: all that were looked at, or as many as there is room for, with the first and last."""
    steps = sorted({step for series in rows.values() for step in series.steps})
    if len(steps) <= STEPS:
        return steps
    return sorted({steps[round(at * (len(steps) - 1) / (STEPS - 1))] for at in range(STEPS)})


def _at(series: Series, steps: Sequence[int]) -> list[Cell]:
    """The value at each step, or the last one since the step before; a gap where there is none."""
    cells: list[Cell] = []
    before = -1
    for step in steps:
        place = bisect_right(series.steps, step) - 1
        seen = place >= 0 and series.steps[place] > before
        value = series.values[place] if seen else None
        cells.append(_GAP if not seen else value if value is not None and math.isfinite(value) else None)
        before = step
    return cells


def _levels(quantity: Quantity, values: dict[str, list[Cell]]) -> Callable[[Cell], str]:
    """A value → the class of its colour."""
    reference = quantity.reference
    if reference is None and not quantity.share:
        reference = _strongest(values)

    def level(value: Cell) -> str:
        if value is _GAP:
            return "gap"
        if not isinstance(value, float | int):
            return "bad"
        size = abs(float(value))
        if quantity.share:
            return f"w{min(SHADES, math.ceil(size * SHADES - 1e-9))}"
        if size == 0 or not reference:
            return "s0"
        if size > HOT[0] * reference:
            return f"h{sum(size > times * reference for times in HOT)}"
        return f"s{max(1, SHADES - int(max(0.0, -math.log10(size / reference)) / DECADES))}"

    return level


def _strongest(values: dict[str, list[Cell]]) -> float:
    """The median over the steps of what the strongest layer has."""
    columns = zip(*values.values(), strict=True)
    tops = [max((abs(float(v)) for v in column if isinstance(v, float | int)), default=0.0) for column in columns]
    known = sorted(top for top in tops if top > 0)
    return known[len(known) // 2] if known else 0.0


def _strip(levels: Sequence[str]) -> str:
    """The cells of a row, one path a colour; neighbours of one colour are one rectangle."""
    places: dict[str, list[str]] = {}
    start = 0
    for kind, group in groupby(levels):
        count = len(list(group))
        if kind != "gap":
            places.setdefault(kind, []).append(f"M{start} 0h{count}v1h-{count}z")
        start += count
    return "".join(tag("path", class_=kind, d="".join(parts)) for kind, parts in places.items())


def _short(value: Cell) -> float | None:
    return float(f"{value:.3g}") if isinstance(value, float | int) else None


def _spoken(cells: Sequence[Cell]) -> str:
    known = [value for value in cells if isinstance(value, float | int)]
    if not known:
        return "never finite"
    return f"{formatting.number(float(known[0]), 2)} at first, {formatting.number(float(known[-1]), 2)} at last"


def _ticks(steps: Sequence[int]) -> str:
    """Numbers of steps below the columns; they are looked at more and more rarely, so the scale is their own."""
    count = len(steps)
    places = sorted({round(at * (count - 1) / (TICKS - 1)) for at in range(TICKS)}) if count > 1 else [0]
    marks = [
        tag("span", formatting.count(steps[at]), style=f"left:{100 * (at + 0.5) / count:.2f}%", class_=side)
        for at in places for side in ("first" if at == 0 else "last" if at == count - 1 else None,)
    ]  # fmt: skip
    return tag("div", "".join(marks), class_="steps")


# ------------------------------------------------------------------------------------------------ pins and legend


def _pins(
    layers: Sequence[str], order: Sequence[str], steps: Sequence[int], pinned: Sequence[Finding]
) -> dict[str, list[str]]:
    """Numbers of findings on the layer and at the step that they speak of; at the end where they name no step."""
    places = {layer: place for place, layer in enumerate(order)}
    made: dict[str, list[str]] = {}
    taken: dict[tuple[str, int], int] = {}
    for number, finding in enumerate(pinned[:PINS], 1):
        layer = _nearest_row(finding.layer or finding.where, layers, places)
        if layer is None:
            continue
        at = next((evidence.step for evidence in finding.evidence if evidence.step is not None), None)
        column = len(steps) - 1 if at is None else max(0, bisect_right(steps, at) - 1)
        shift = taken.get((layer, column), 0)
        taken[layer, column] = shift + 1
        side = -1 if column > len(steps) / 2 else 1
        style = f"left:calc({100 * (column + 0.5) / len(steps):.2f}% + {side * 20 * shift}px)"
        text = f"{finding.severity}: {finding.code}, {finding.where}"
        pin = tag("span", str(number), class_=f"pin {finding.severity}", style=style, data_tip=text)
        made.setdefault(layer, []).append(pin)
    return made


def _nearest_row(layer: str, rows: Sequence[str], places: dict[str, int]) -> str | None:
    """The row of a layer, or the one before it: an activation has no weights, but the layer that it follows has."""
    if layer in rows:
        return layer
    if layer not in places:
        return None
    before = [row for row in rows if places[row] < places[layer]]
    return before[-1] if before else rows[0]


def _legend(quantity: Quantity) -> str:
    def entry(kind: str, text: str) -> str:
        path = tag("path", class_=kind, d="M0 0h1v1h-1z")
        swatch = tag("svg", path, viewBox="0 0 1 1", preserveAspectRatio="none", aria_hidden="true")
        return tag("li", swatch + escaped(text))

    if quantity.share:
        shown = [("w0", "none"), ("w2", "a quarter"), ("w4", "half"), ("w8", "all")]
    else:
        top = {"gradient": "the strongest layer", "update": "a thousandth", "activation": "one"}[quantity.name]
        shown = [
            ("s0", "zero"), ("s1", "a millionth of it"), ("s4", "a thousandth of it"), ("s8", top),
            ("h1", "3 times as much"), ("h3", "300 times as much"),
        ]  # fmt: skip
    return tag("ul", "".join(entry(*each) for each in [*shown, ("bad", "not a number")]), class_="shades")
