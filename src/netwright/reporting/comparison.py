"""A comparison over seeds in words, as tables and as a page: nothing inside the noise is called better. No torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from netwright.records import Comparison, PairedDifference
from netwright.reporting import charts, formatting, page, sentences
from netwright.reporting.pieces import Section

COLOURS = ("#2f7fc1", "#d9772b", "#3f9d68", "#a05cb5", "#c94f5c", "#8a7a2a", "#4f8c93", "#8c8c8c")
WORDS = {
    "better": "better", "small": "better, by less than matters", "equal": "no difference that matters",
    "unclear": "no difference shown", "failed": "not judged: trainings failed", "too few": "too few seeds",
}  # fmt: skip
Curves = Mapping[str, Mapping[tuple[str, str], Mapping[int, Sequence[float]]]]


def result_text(metrics: Mapping[str, Mapping[str, float]], decides: tuple[str, str] | None = None) -> str:
    """``accuracy 97.2 % (test)``; ``decides``: the part and the metric, else the most telling one."""
    part, known = sentences.spoken_for(metrics)
    name = sentences.telling(known)
    if decides is not None:
        part, name = decides
        known = metrics[part]
    return f"{formatting.metric_name(name)} {formatting.metric(name, known[name])} ({part})" if name else "no metrics"


def amount(metric: str, value: float | None, signed: bool = True) -> str:
    """A difference of a metric: points of a share, else in its own unit."""
    if value is None or not math.isfinite(value):
        return formatting.MISSING
    sign = ("+" if value > 0 else "") if signed else ""
    if formatting.is_share(metric):
        return f"{sign}{100 * value:.2f}".replace("-", "−")
    return f"{sign}{formatting.number(value, 3)}"


def _unit(metric: str) -> str:
    return " points" if formatting.is_share(metric) else ""


def _interval(row: PairedDifference) -> str:
    if row.low is None or row.high is None or not math.isfinite(row.low):
        return formatting.MISSING
    return f"[{amount(row.metric, row.low)}, {amount(row.metric, row.high)}]"


def headline(found: Comparison) -> str:
    """Who is better, if anyone is."""
    rows = [row for row in found.differences if row.decisive]
    won = [row for row in rows if row.verdict == "better"]
    if len(rows) == 1:
        row = rows[0]
        return f"{row.better} is better" if won else WORDS[row.verdict].capitalize()
    shared = {WORDS[row.verdict] for row in rows if row.verdict != "better"}
    beaten = {name: {_loser(row) for row in won if row.better == name} for name in {row.better for row in won}}
    best = [name for name, losers in beaten.items() if len(losers) == len(found.arms) - 1]
    if best:
        return f"{best[0]} is better than all others"
    told = [f"{row.better} is better than {_loser(row)}" for row in won]
    if told:
        return "; ".join(told)
    return shared.pop().capitalize() if len(shared) == 1 else "No recipe is shown to be better"


def _loser(row: PairedDifference) -> str:
    return row.first if row.better == row.second else row.second


def explanation(row: PairedDifference, found: Comparison) -> list[str]:
    """What a difference on the deciding metric says and does not say, and how many seeds it would need."""
    name, unit = f"{formatting.metric_name(row.metric)} ({row.part})", _unit(row.metric)
    pairs = formatting.plural(row.pairs, "seed")
    told = f"{row.second} against {row.first}: {WORDS[row.verdict]}. {name.capitalize()} {amount(row.metric, row.mean)}"
    told = f"{told}{unit}, {100 * found.level:.0f} % interval {_interval(row)}, {pairs}."
    if row.mean is None:
        return [f"{row.second} against {row.first}: {WORDS[row.verdict]} on every seed, so there is no pair."]
    if row.verdict == "better":
        told = told.replace(WORDS["better"], f"{row.better} is better", 1)
    lines = [told]
    if row.verdict == "unclear" and row.detectable is not None:
        lines.append(
            f"These seeds would find a difference of {amount(row.metric, row.detectable, False)}{unit} 4 times of 5."
        )
    if row.verdict in ("unclear", "too few") and row.needed is not None and row.needed > row.pairs:
        size = amount(row.metric, found.smallest or abs(row.mean or 0.0), False)
        count = formatting.count(row.needed)
        lines.append(f"More seeds are needed: about {count}, for a difference of {size}{unit}.")
    elif row.verdict in ("unclear", "too few") and row.needed is None and row.mean:
        lines.append("No number of seeds that can be trained is likely to tell them apart.")
    if row.verdict == "failed":
        lines.append("The seeds on which a training failed are left out, which flatters the recipe that fails.")
    return lines


def difference_rows(found: Comparison, decisive: bool) -> list[tuple[str, ...]]:
    """pair, metric, difference, interval, seeds, verdict; those of the metric that decides, or the others."""
    rows: list[tuple[str, ...]] = []
    for row in found.differences:
        if row.decisive == decisive:
            verdict = f"{row.better} is better" if row.verdict == "better" else WORDS[row.verdict]
            inside = row.low is not None and row.high is not None and (row.low > 0 or row.high < 0)
            shown = verdict if decisive else "outside of zero" if inside else ""
            name = f"{formatting.metric_name(row.metric)} ({row.part})"
            value = f"{amount(row.metric, row.mean)}{_unit(row.metric)}"
            rows.append((f"{row.second} − {row.first}", name, value, _interval(row), str(row.pairs), shown))
    return rows


PAIR_COLUMNS = ("pair", "metric", "difference", "interval", "seeds", "")


def arm_rows(found: Comparison) -> list[tuple[str, ...]]:
    """name, mean ± deviation of the metric that decides, seconds a run, memory, failed, what it changes."""
    part, _, metric = found.metric.partition(".")
    rows: list[tuple[str, ...]] = []
    for arm in found.arms:
        values = list(arm.values.get(part, {}).get(metric, {}).values())
        spread = f" ± {amount(metric, statistics.stdev(values), False)}" if len(values) > 1 else ""
        mean = formatting.metric(metric, statistics.fmean(values)) if values else formatting.MISSING
        changed = ", ".join(f"{key}={formatting.value_text(new)}" for key, (_, new) in arm.changes.items())
        cost = formatting.duration(arm.seconds), formatting.size(arm.memory_bytes)
        rows.append((arm.name, mean + spread, *cost, str(len(arm.failed) or ""), formatting.clipped(changed, 120)))
    return rows


def arm_columns(found: Comparison) -> tuple[str, ...]:
    part, _, metric = found.metric.partition(".")
    return "", f"{formatting.metric_name(metric)} ({part})", "a run", "memory", "failed", "differs from the first in"


def about(found: Comparison) -> str:
    """What the intervals are about."""
    seeds, reused = len(found.seeds), sum(arm.reused for arm in found.arms)
    held = "each with other held-out examples" if found.splits else "all on the same held-out examples"
    many = f"; the {found.comparisons} intervals hold together" if found.comparisons > 1 else ""
    used = "was" if reused == 1 else "were"
    again = f" {formatting.plural(reused, 'run')} of before {used} used again." if reused else ""
    return f"{formatting.plural(seeds, 'seed')}, paired, {held}{many}.{again}"


# ------------------------------------------------------------------------------------------------ page


def write_page(path: Path | str, found: Comparison, curves: Curves) -> Path:
    """One HTML file that needs nothing else; ``curves``: arm → (part, metric) → epoch → values of the seeds."""
    decisive = [row for row in found.differences if row.decisive]
    told = [line for row in decisive for line in explanation(row, found)]
    sections: list[Section] = [
        {"title": "Differences", "lead": told, "columns": PAIR_COLUMNS, "rows": difference_rows(found, True),
         "numbers": (2, 3, 4), "charts": [_seeds_chart(found)]},
        {"title": "Cost", "lead": ["Seconds of training and the highest memory, medians over the seeds."],
         "columns": arm_columns(found), "rows": arm_rows(found), "numbers": (1, 2, 3, 4), "charts": []},
        {"title": "Curves", "lead": ["Means over the seeds after each epoch; the bands are one standard deviation."],
         "columns": (), "rows": [], "numbers": (), "charts": _curve_charts(found, curves)},
        {"title": "Other metrics", "lead": ["Each interval holds for itself: nothing is decided here."],
         "columns": PAIR_COLUMNS, "rows": difference_rows(found, False), "numbers": (2, 3, 4), "charts": []},
    ]  # fmt: skip
    names = " and ".join(arm.name for arm in found.arms)
    colours = [(f"arm{number}", colour) for number, colour in enumerate(COLOURS)]
    shown = {"title": names, "headline": headline(found), "about": about(found), "colours": colours}
    return page.write_page(path, "comparison.html.jinja", {**shown, "sections": [s for s in sections if _full(s)]})


def _full(section: Section) -> bool:
    return bool(section["rows"] or section["charts"])


def _tone(number: int) -> str:
    return f"arm{number % len(COLOURS)}"


def _chart(title: str, found: Comparison, lines: list[charts.Line], metric: str, x: str, bands: Any = ()) -> Section:
    names = [(arm.name, _tone(number), "") for number, arm in enumerate(found.arms)]
    share = formatting.is_share(metric)
    svg = charts.line_chart(lines, label=title, x_title=x, share=share, log=False, bands=bands)
    return {"title": title, "legend": Markup(charts.legend(names)), "svg": Markup(svg)}


def _seeds_chart(found: Comparison) -> Section:
    """The deciding metric of every seed: lines that rise and fall together are what pairing takes out."""
    part, _, metric = found.metric.partition(".")
    lines = []
    for number, arm in enumerate(found.arms):
        values = arm.values.get(part, {}).get(metric, {})
        lines.append(charts.Line(arm.name, list(values), list(values.values()), _tone(number)))
    return _chart(f"{formatting.metric_name(metric)} ({part}) of each seed", found, lines, metric, "seed")


def _curve_charts(found: Comparison, curves: Curves) -> list[Section]:
    _, _, metric = found.metric.partition(".")
    wanted = dict.fromkeys([("validation", metric), ("validation", "loss"), ("train", "loss")])
    made = []
    for part, name in wanted:
        lines, bands = [], []
        for number, arm in enumerate(found.arms):
            by_epoch = curves.get(arm.name, {}).get((part, name), {})
            epochs = sorted(by_epoch)
            means = [statistics.fmean(by_epoch[epoch]) for epoch in epochs]
            spread = [statistics.stdev(by_epoch[epoch]) if len(by_epoch[epoch]) > 1 else 0.0 for epoch in epochs]
            lines.append(charts.Line(arm.name, epochs, means, _tone(number)))
            lows, highs = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
            if formatting.is_share(name):
                lows, highs = [max(0.0, low) for low in lows], [min(1.0, high) for high in highs]
            bands.append(charts.Band(epochs, lows, highs, _tone(number)))
        if any(line.xs for line in lines):
            made.append(_chart(f"{formatting.metric_name(name)} ({part})", found, lines, name, "epoch", bands))
    return made
