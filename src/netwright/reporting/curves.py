"""Curves over data, capacity and batch size: tables, texts and a page. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from netwright.reporting import charts, formatting, page
from netwright.reporting.comparison import COLOURS
from netwright.reporting.pieces import Section
from netwright.scaling.records import BatchRegimes, CurvePoint, Curves, LearnerCurve, Spread

TITLES = {"data": "training examples", "width": "width", "depth": "depth"}
Rows = list[tuple[str, ...]]


def spread_text(found: Spread) -> str:
    """``2.1 % ± 0.3``: the half of the 95 % interval behind it."""
    if found.low is None or found.high is None:
        return formatting.percent(found.mean)
    return f"{formatting.percent(found.mean)} ± {50 * (found.high - found.low):.1f}"


def columns(found: Curves) -> tuple[str, ...]:
    """Of a table with a row for every size."""
    first = found.learners[0]
    shared = (TITLES[found.over], *(() if found.over == "data" else ("weights",)), f"{first.name} ({found.part})",
              "training", "a run")  # fmt: skip
    if found.over == "data":
        return (*shared, *(each.name for each in found.learners[1:]))
    return (*shared, "bias", "variance", "helpful variance")


def rows(found: Curves) -> Rows:
    made: Rows = []
    first, others = found.learners[0], found.learners[1:]
    for point in first.points:
        weights = () if found.over == "data" else (formatting.count(point.parameters or 0),)
        cells = (formatting.count(point.size), *weights, spread_text(point.held_out), spread_text(point.train))
        if found.over == "data":
            at = [next((p for p in each.points if p.size == point.size), None) for each in others]
            more = [formatting.MISSING if p is None else spread_text(p.held_out) for p in at]
        else:
            more = _parts(point)
        made.append((*cells, formatting.duration(point.seconds), *more))
    if found.over != "data":
        for each in others:
            point = each.points[0]
            cells = (each.name, "", spread_text(point.held_out), spread_text(point.train))
            made.append((*cells, formatting.duration(point.seconds), *_parts(point)))
    return made


def _parts(point: CurvePoint) -> list[str]:
    parts = point.decomposition
    if parts is None:
        return [formatting.MISSING] * 3
    return [formatting.percent(value) for value in (parts.bias, parts.variance, parts.helpful)]


def learner_rows(found: Curves) -> Rows:
    """name, error at its largest size, on training examples, seconds, what it chose."""
    made: Rows = []
    for each in found.learners:
        last = each.points[-1]
        cells = spread_text(last.held_out), spread_text(last.train), formatting.duration(last.seconds)
        made.append((each.name, *cells, each.choices))
    return made


def about(found: Curves | BatchRegimes) -> str:
    """What the numbers are of."""
    what = f"{found.measure} on {formatting.count(found.tested)} examples of the {found.part} part"
    many = formatting.plural(len(found.seeds), "seed")
    again = f"; {formatting.plural(found.reused, 'training')} of before used again" if found.reused else ""
    if isinstance(found, BatchRegimes):
        return f"{what}, {many}; rates: {found.rule}{again}."
    if found.over == "data":
        return f"{what}, {many}, each with other subsets of the {formatting.count(found.examples)} examples{again}."
    return f"{what}, {many}, each with another half of the training part{again}."


# ------------------------------------------------------------------------------------------------ page


def write_page(path: Path | str, found: Curves, name: str) -> Path:
    """One HTML file that needs nothing else."""
    numbers = tuple(range(1, len(columns(found))))
    lead = [*found.conclusions[1:], "± is half of a 95 % interval over the seeds." if len(found.seeds) > 2 else ""]
    sections: list[Section] = [
        {"title": "Errors", "lead": [line for line in lead if line], "columns": columns(found), "rows": rows(found),
         "numbers": numbers, "charts": [_errors(found)]},
    ]  # fmt: skip
    if found.over == "data" and len(found.learners) > 1:
        lead = ["At the largest size. The time of a network is its training's; of the others all of it, features and "
                "choices included."]  # fmt: skip
        sections.append({"title": "Without a network", "lead": lead, "columns": ("", found.measure, "training", "time",
                         "chosen"), "rows": learner_rows(found), "numbers": (1, 2, 3), "charts": []})  # fmt: skip
    if any(point.decomposition for point in found.learners[0].points):
        sections.append(_decomposed(found))
    if found.filters is not None:
        sections.append(_filters(found))
    if found.notes:
        sections.append({"title": "Notes", "lead": list(found.notes), "columns": (), "rows": [], "numbers": (),
                         "charts": []})  # fmt: skip
    return _written(path, name, found, sections)


def _written(path: Path | str, name: str, found: Curves | BatchRegimes, sections: list[Section]) -> Path:
    colours = [(f"arm{number}", colour) for number, colour in enumerate(COLOURS)]
    headline = found.conclusions[0] if found.conclusions else "Nothing can be said"
    shown = {"title": f"{name} over {found.over}", "headline": headline, "about": about(found), "colours": colours}
    return page.write_page(path, "comparison.html.jinja", {**shown, "sections": sections})


def _chart(
    title: str, names: Sequence[tuple[str, str]], lines: list[charts.Line], x: str, places: Sequence[float],
    bands: Sequence[charts.Band] = (), share: bool = True, log: bool = True, mark: tuple[float, str] | None = None,
) -> Section:  # fmt: skip
    legend = Markup(charts.legend([(name, tone, "") for name, tone in names]))
    svg = charts.line_chart(
        lines, label=title, x_title=x, share=share, log=log, bands=bands, places=places, mark=mark
    )  # fmt: skip
    return {"title": title, "legend": legend, "svg": Markup(svg)}


def _errors(found: Curves) -> Section:
    """The picture: errors over sizes, the network's on training examples dashed, the law beyond its last point."""
    lines: list[charts.Line] = []
    bands: list[charts.Band] = []
    names: list[tuple[str, str]] = []
    network, others = found.learners[0], found.learners[1:]
    xs = [float(point.size) for point in network.points]
    tone = "arm0"
    lines.append(charts.Line(f"{network.name}, {found.part}", xs, _floored(network, False), tone))
    names.append((f"{network.name}, {found.part}", tone))
    bands.append(_band(network, tone))
    lines.append(charts.Line(f"{network.name}, training", xs, _floored(network, True), f"{tone} dashed"))
    names.append((f"{network.name}, training", f"{tone} dashed"))
    for number, each in enumerate(others, 1):
        tone = f"arm{number}"
        own = [float(point.size) for point in each.points]
        ys = _floored(each, False)
        if found.over != "data":  # one training part for all sizes: a level
            own, ys = [xs[0], xs[-1]], [ys[0]] * 2
            tone_of_line = f"{tone} plain"
        else:
            tone_of_line = tone
            bands.append(_band(each, tone))
        lines.append(charts.Line(each.name, own, ys, tone_of_line))
        names.append((each.name, tone_of_line))
    places, mark = list(xs), None
    if found.law is not None and found.law.curve:
        inside = [row for row in found.law.curve if row[0] <= 2.02 * xs[-1]]
        drawn = [row[0] for row in inside]
        lines.append(charts.Line("power law", drawn, [row[1] for row in inside], "arm7 dashed plain"))
        bands.append(charts.Band(drawn, [row[2] for row in inside], [row[3] for row in inside], "arm7"))
        names.append(("power law", "arm7 dashed plain"))
        mark, places = (xs[-1], "all there is"), [*places, 2 * xs[-1]]
    title = f"{found.measure.capitalize()} over {TITLES[found.over]}"
    return _chart(title, names, lines, TITLES[found.over], places, bands, mark=mark)


def _least(found: float | None) -> float | None:
    """Zero has no place on a logarithmic axis: it is drawn at a twentieth of a percent."""
    return None if found is None else max(found, 5e-4)


def _floored(curve: LearnerCurve, train: bool) -> list[float | None]:
    return [_least((point.train if train else point.held_out).mean) for point in curve.points]


def _band(curve: LearnerCurve, tone: str) -> charts.Band:
    known = [point for point in curve.points if point.held_out.low is not None and point.held_out.mean is not None]
    xs = [float(point.size) for point in known]
    lows = [_least(max(point.held_out.low or 0.0, 0.3 * (point.held_out.mean or 0.0))) for point in known]
    return charts.Band(xs, lows, [min(1.0, point.held_out.high or 0.0) for point in known], tone)


def _decomposed(found: Curves) -> Section:
    """Bias and variance over the size, and the same of squared errors beside it."""
    network = found.learners[0]
    known = [(float(p.size), p.decomposition) for p in network.points if p.decomposition is not None]
    xs = [x for x, _ in known]
    parts: list[tuple[str, str, list[Any]]] = [
        (found.measure, "arm0", [d.error for _, d in known]), ("bias", "arm1", [d.bias for _, d in known]),
        ("variance", "arm2", [d.variance for _, d in known]),
    ]  # fmt: skip
    if any(d.helpful for _, d in known):
        parts.append(("helpful variance", "arm3 dashed", [d.helpful for _, d in known]))
    values = found.measure == "unexplained variance"
    title = "Squared loss" if values else "0-1 loss (Domingos 2000)"
    made = [_parts_chart(title, found, xs, parts, True)]
    if not values and all(d.squared_bias is not None for _, d in known):
        squared: list[tuple[str, str, list[Any]]] = [
            ("squared bias", "arm1", [d.squared_bias for _, d in known]),
            ("variance", "arm2", [d.squared_variance for _, d in known]),
        ]  # fmt: skip
        made.append(_parts_chart("Squared loss of the probabilities", found, xs, squared, False))
    lead = ["Each training saw another half of the training part, and other first weights.",
            "Bias is the error of what most of them say; noise in the labels counts as bias."]  # fmt: skip
    return {"title": "Bias and variance", "lead": lead, "columns": (), "rows": [], "numbers": (), "charts": made}


def _parts_chart(
    title: str, found: Curves, xs: list[float], parts: list[tuple[str, str, list[Any]]], share: bool
) -> Section:  # fmt: skip
    lines = [charts.Line(name, xs, values, tone) for name, tone, values in parts]
    names = [(name, tone) for name, tone, _ in parts]
    return _chart(title, names, lines, TITLES[found.over], xs, share=share, log=False)


def _filters(found: Curves) -> Section:
    fit = found.filters
    assert fit is not None
    side = f"{fit.size[0]}×{fit.size[1]}"
    lead = [
        f"Layer {fit.layer}: {formatting.plural(fit.filters, 'filter')} of {side}. The nearest Gabor filter explains "
        f"{formatting.percent(fit.fit)} of a filter's energy on average, of random ones of that size "
        f"{formatting.percent(fit.random)}.",
        f"{formatting.percent(fit.beyond, 0)} of them lie above what 95 % of random ones stay below "
        f"({formatting.percent(fit.random_high)}).",
    ]
    if min(fit.size) < 5:
        lead.append(f"At {side} nearly every pattern is near some Gabor filter: this tells little.")
    image = Markup(f'<img src="data:image/png;base64,{charts.escaped(fit.picture)}" alt="filters">')
    chart = {"title": "Learned filters (above) and their nearest Gabor filters", "legend": Markup(""), "svg": image}
    return {"title": "First layer", "lead": lead, "columns": (), "rows": [], "numbers": (), "charts": [chart]}


# ------------------------------------------------------------------------------------------------ batch sizes


def batch_columns(found: BatchRegimes) -> tuple[str, ...]:
    return ("batch", "rate", f"to {formatting.percent(found.target)}", "steps", "examples", "a step", "memory",
            "noise ÷ signal")  # fmt: skip


def batch_rows(found: BatchRegimes) -> Rows:
    made: Rows = []
    for point in found.points:
        missed = f"not in {found.within:g} s" if not point.left_out else "–"
        steps, examples = (
            formatting.MISSING if value is None else formatting.count(round(value))
            for value in (point.steps, point.examples)
        )
        step = formatting.MISSING if point.step_ms is None else formatting.duration(point.step_ms / 1000)
        ratio = formatting.MISSING if point.ratio is None else formatting.short(point.ratio, 2)
        reached = missed if point.seconds is None else formatting.duration(point.seconds)
        made.append((formatting.count(point.batch_size), formatting.short(point.lr, 2), reached, steps, examples, step,
                     formatting.size(point.memory_bytes), ratio))  # fmt: skip
    return made


def write_batch_page(path: Path | str, found: BatchRegimes, name: str) -> Path:
    """One HTML file with the four views of one picture: seconds, work, memory and noise over the batch size."""
    numbers = tuple(range(1, len(batch_columns(found))))
    lead = [*found.conclusions[1:], found.how, *found.notes]
    sections: list[Section] = [
        {"title": "Batch sizes", "lead": lead, "columns": batch_columns(found), "rows": batch_rows(found),
         "numbers": numbers, "charts": _batch_charts(found)},
    ]  # fmt: skip
    return _written(path, name, found, sections)


def _batch_charts(found: BatchRegimes) -> list[Section]:
    points = found.points
    xs = [float(point.batch_size) for point in points]
    goal = formatting.percent(found.target)
    mark = None
    if found.noise is not None and xs[0] <= found.noise <= xs[-1]:
        mark = (found.noise, f"noise scale {formatting.short(found.noise, 2)}")

    def drawn(title: str, parts: Sequence[tuple[str, str, Sequence[float | None]]], bands: Any = ()) -> Section:
        lines = [charts.Line(name, xs, values, tone) for name, tone, values in parts]
        names = [(name, tone) for name, tone, _ in parts]
        return _chart(title, names, lines, "batch size", xs, bands, share=False, mark=mark)

    reached = [point for point in points if point.seconds is not None]
    each = [[trial.seconds for trial in point.trials if trial.seconds is not None] for point in reached]
    band = charts.Band([float(p.batch_size) for p in reached], [min(e) for e in each], [max(e) for e in each], "arm0")
    made = []
    if reached:
        missed = [None if p.seconds is not None or p.left_out else found.within for p in points]
        parts: list[tuple[str, str, Sequence[float | None]]] = [("median", "arm0", [p.seconds for p in points])]
        if any(value is not None for value in missed):
            parts.append(("not reached by then", "arm4 dashed", missed))
        made.append(drawn(f"Seconds to {goal}", parts, [band]))
        work = [("steps", "arm1", [p.steps for p in points]), ("examples", "arm2", [p.examples for p in points])]
        made.append(drawn(f"Steps and examples to {goal}", work))
    memory = [("a step, by the graph", "arm3", [_mega(p.memory_bytes) for p in points]),
              ("process, highest", "arm5", [_mega(p.resident_bytes) for p in points])]  # fmt: skip
    made.append(drawn("Memory, MB", [part for part in memory if any(value for value in part[2])]))
    ratio = [("noise² ÷ signal² of a step's gradient", "arm6", [p.ratio for p in points])]
    if any(value is not None and math.isfinite(value) for value in ratio[0][2]):
        made.append(drawn("Gradient noise at the end", ratio))
    return [chart for chart in made if chart["svg"]]


def _mega(value: int | None) -> float | None:
    return None if value is None else value / 1e6
