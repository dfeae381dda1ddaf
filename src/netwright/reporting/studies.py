"""A study for the terminal and as one HTML page: trials, importance, slices, parallel coordinates, curves. No torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netwright import __version__
from netwright.records import Importance, Trial, Verdict
from netwright.reporting import charts, formatting
from netwright.reporting.charts import _Axis, _frame, _left, _svg, escaped, tag
from netwright.reporting.drawing import POLICY
from netwright.reporting.drawing import STYLE as PLAIN

if TYPE_CHECKING:
    from rich.console import RenderableType

# A searched key: its name, its place in 0…1 of a value, and what stands at the two ends.
Axis = tuple[str, Callable[[Any], float], tuple[str, str]]

SHOWN, MOST_ROWS, MOST_CURVES = 15, 1000, 400
TOP_SHARE = 0.1  # of the finished trials, drawn in the strong colour
STATES = {"finished": "green", "stopped": "dim", "failed": "red", "running": "cyan", "waiting": "dim"}


def score_text(metric: str, value: float | None) -> str:
    """A score as its metric: a loss stands there with its sign turned."""
    if value is None:
        return formatting.MISSING
    return formatting.metric(metric, -value if metric == "loss" else value)


def difference_text(metric: str, value: float) -> str:
    return f"{100 * value:+.2f}" if formatting.is_share(metric) else formatting.number(value, 3)


def change_text(change: Mapping[str, Any]) -> str:
    return "  ".join(f"{key.rpartition('.')[2]}={formatting.value_text(value)}" for key, value in change.items())


def trial_line(each: Trial, metric: str) -> str:
    """What became of a trial, in one line."""
    outcome = score_text(metric, each.value) if each.value is not None else ""
    words = [f"trial {each.number:>3}", f"{each.state:8}", f"{outcome:>8}", f"{formatting.duration(each.seconds):>7}"]
    text = "  ".join([*words, change_text(each.change)])
    return f"{text}   ({formatting.clipped(each.reason, 120)})" if each.reason else text


# ------------------------------------------------------------------------------------------------ terminal


def table(trials: Sequence[Trial], metric: str, most: int = SHOWN) -> RenderableType:
    """The best trials first, then those that were stopped or failed, each with its reason."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    keys = list(dict.fromkeys(key for each in trials for key in each.change))
    for column in (
        "trial",
        "state",
        metric or "score",
        "epochs",
        "time",
        *(key.rpartition(".")[2] for key in keys),
        "",
    ):
        made.add_column(column, justify="left" if column in ("state", "") else "right", overflow="fold")
    for each in _ordered(trials)[:most]:
        values = [formatting.value_text(each.change[key]) if key in each.change else "" for key in keys]
        made.add_row(
            str(each.number), Text(each.state, STATES[each.state]), score_text(metric, each.value),
            str(len(each.curve)), formatting.duration(each.seconds), *values,
            Text(formatting.clipped(each.reason, 60), "dim"),
        )  # fmt: skip
    return made


def _ordered(trials: Sequence[Trial]) -> list[Trial]:
    order = {"finished": 0, "stopped": 1, "failed": 2, "running": 3, "waiting": 4}
    return sorted(
        trials,
        key=lambda each: (order[each.state], -(each.value if each.value is not None else -math.inf), each.number),
    )


def importance_lines(found: Importance) -> list[str]:
    """The ranking in words; or that it cannot be said."""
    if not found.keys:
        return [f"importance: {found.note}"]
    width = max(len(each.key) for each in found.keys)
    lines = [f"importance over {found.trials} trials ({found.note}); median, 10 % to 90 % of bootstrap samples"]
    for each in found.keys:
        shares = [
            f"{name} {_spread(spread)}" for name, spread in (("fANOVA", each.fanova), ("PED-ANOVA", each.pedanova))
        ]
        lines.append(f"  {each.key:{width}}  {shares[0]:30} {shares[1]}")
    if not found.told_apart:
        lines.append("  the first two are not told apart: more trials would say")
    return lines


def _spread(spread: tuple[float, float, float] | None) -> str:
    if spread is None:
        return formatting.MISSING
    return f"{100 * spread[0]:.0f} % ({100 * spread[1]:.0f}–{100 * spread[2]:.0f})"


def counts_text(trials: Sequence[Trial]) -> str:
    """``40 trials: 12 finished, 27 stopped early, 1 failed``."""
    words = {
        "finished": "finished",
        "stopped": "stopped early",
        "failed": "failed",
        "running": "running",
        "waiting": "waiting",
    }
    counted = {state: sum(each.state == state for each in trials) for state in words}
    parts = ", ".join(f"{count} {words[state]}" for state, count in counted.items() if count)
    return f"{formatting.plural(len(trials), 'trial')}: {parts}" if trials else "no trials"


def verdict_lines(verdict: Verdict, metric: str) -> list[str]:
    """The best few over seeds, and whether the first is better than chance."""
    if not verdict.contestants:
        return []
    unit = " points" if formatting.is_share(metric) else ""
    lines = []
    for place, each in enumerate(verdict.contestants):
        name = "the recipe itself" if each.number < 0 else f"trial {each.number}"
        text = f"  {name:18} {score_text(metric, each.mean):>8} over {formatting.plural(len(each.scores), 'seed')}"
        if each.behind is not None:
            mean, low, high = (difference_text(metric, value) for value in each.behind)
            text += f"   behind by {mean}{unit} ({low} to {high})"
        text += f"   {each.failed} failed" if each.failed else ""
        lines.append(text + ("   winner" if place == 0 else ""))
    first = verdict.contestants[0]
    if first.number < 0:
        lines.append("Nothing that was tried is better than the recipe itself over other seeds.")
    elif verdict.better_than_default:
        lines.append("The winner is better than the recipe itself, beyond the noise between seeds.")
    elif verdict.better_than_default is not None:
        lines.append("The winner is not told apart from the recipe itself: more seeds would say (--seeds).")
    if len(verdict.contestants) > 1 and not verdict.clear and first.number >= 0:
        lines.append("The first and the second are not told apart by these seeds.")
    return lines


# ------------------------------------------------------------------------------------------------ the page


def page(
    name: str, metric: str, trials: Sequence[Trial], found: Importance, verdict: Verdict,
    change: Mapping[str, tuple[Any, Any]], axes: Sequence[Axis], best: Trial | None,
) -> str:  # fmt: skip
    """One self-contained page; some 400 bytes a trial and key."""
    body = [tag("h1", escaped(f"Study {name}")), tag("p", escaped(_lead(trials, metric, best)), class_="lead")]
    body += _section("The winner", _winner(change, verdict, metric))
    body += _section("What matters", _importance(found))
    body += _section(f"Learning curves of all trials: {metric or 'score'}", [_wide(curves(trials, metric)), *_legend()])
    body += _section(
        "Each key by itself", [tag("div", "".join(slice_chart(trials, axis, metric) for axis in axes), class_="grid2")]
    )
    body += _section("All keys at once", [_wide(parallel(trials, axes, metric))])
    body += _section("Trials", [_wide(_trials(trials, metric))])
    body.append(
        tag("footer", escaped(f"netwright {__version__}. Seconds are those of each trial, stopped ones included."))
    )
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>Study {escaped(name)}</title><style>{PLAIN}{STYLE}</style>"
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{"".join(body)}</main></body></html>'


def _section(title: str, parts: Sequence[str]) -> list[str]:
    content = "".join(parts)
    return [tag("h2", escaped(title)), content] if content else []


def _wide(content: str) -> str:
    return tag("div", content, class_="wide") if content else ""


def _lead(trials: Sequence[Trial], metric: str, best: Trial | None) -> str:
    spent = formatting.duration(sum(each.seconds for each in trials))
    text = f"{counts_text(trials)}, {spent} of training."
    if best is not None:
        text += f" Best {metric or 'score'}: {score_text(metric, best.value)} (trial {best.number})."
    return text


def _winner(change: Mapping[str, tuple[Any, Any]], verdict: Verdict, metric: str) -> list[str]:
    parts: list[str] = []
    if change:
        rows = "".join(
            tag(
                "tr",
                tag("th", escaped(key))
                + tag("td", escaped(formatting.value_text(was)))
                + tag("td", tag("b", escaped(formatting.value_text(now)))),
            )
            for key, (was, now) in change.items()
        )
        parts.append(
            tag(
                "table",
                tag("thead", "<tr><th>key</th><th>recipe</th><th>winner</th></tr>") + tag("tbody", rows),
                class_="layers",
            )
        )
    elif verdict.contestants:
        parts.append(tag("p", "The recipe as it was."))
    parts += [tag("p", escaped(line.strip())) for line in verdict_lines(verdict, metric)]
    return parts


def _importance(found: Importance) -> list[str]:
    if not found.keys:
        return [tag("p", escaped(found.note[:1].upper() + found.note[1:] + "."), class_="note")] if found.note else []
    lead = f"Shares of what {found.trials} trials vary by ({found.note}). "
    lead += "Bars are medians over bootstrap samples, whiskers their 10 % and 90 %."
    parts = [tag("p", escaped(lead)), importance_chart(found)]
    if not found.told_apart:
        parts.append(tag("p", "The first two keys are not told apart: more trials would say.", class_="note"))
    return parts


def importance_chart(found: Importance) -> str:
    """Two bars a key, fANOVA above PED-ANOVA, with the spread of their bootstrap samples."""
    row, left, wide = 40.0, 170.0, charts.WIDTH - 170.0 - 60.0
    parts: list[str] = []
    for place, each in enumerate(found.keys):
        top = 8 + place * row
        parts.append(tag("text", escaped(each.key), x=left - 8, y=top + 18, text_anchor="end"))
        for shift, (tone, spread) in enumerate((("one", each.fanova), ("two", each.pedanova))):
            if spread is None:
                continue
            y = top + 2 + 15 * shift
            low, high = (left + wide * value for value in spread[1:])
            tip = tag("title", escaped(f"{each.key}, {('fANOVA', 'PED-ANOVA')[shift]}: {_spread(spread)}"))
            parts.append(
                tag("rect", tip, x=left, y=y, width=max(1.0, wide * spread[0]), height=12.0, class_=f"bar-{tone}")
            )
            parts.append(tag("path", d=f"M{low:.1f} {y + 6:.1f}H{high:.1f}", class_="whisker"))
            parts.append(
                tag(
                    "text",
                    escaped(f"{100 * spread[0]:.0f} %"),
                    x=max(high, left + wide * spread[0]) + 5,
                    y=y + 10,
                    class_="kind",
                )
            )
    swatch = '<svg class="swatch" viewBox="0 0 22 8"><rect class="bar-{}" width="22" height="8"/></svg>'
    names = [tag("li", swatch.format(tone) + name)
             for tone, name in (("one", "fANOVA"), ("two", "PED-ANOVA"))]  # fmt: skip
    return _svg(parts, "importance of each key", 16 + row * len(found.keys)) + tag(
        "ul", "".join(names), class_="legend"
    )


def curves(trials: Sequence[Trial], metric: str) -> str:
    """The score after each epoch, a line a trial: the best strong, the stopped ones pale and marked at their end."""
    drawn = [(each, _shown(each.curve, metric)) for each in trials if any(v is not None for v in each.curve)]
    drawn = [(each, points) for each, points in drawn if points]
    if not drawn:
        return ""
    best = _best(trials)
    if len(drawn) > MOST_CURVES:
        every = len(drawn) / MOST_CURVES
        kept = {round(place * every) for place in range(MOST_CURVES)}
        drawn = [pair for place, pair in enumerate(drawn) if place in kept or pair[0].number in best]
    ys = [y for _, points in drawn for _, y in points]
    low, high = _trimmed(ys, metric)
    share = formatting.is_share(metric)
    ticks = charts.nice_ticks(low, high)
    texts = charts.percent_texts(ticks) if share else charts.tick_texts(ticks)
    last = max(x for _, points in drawn for x, _ in points)
    x_axis = _Axis(min(1, last - 1), last, _left(texts), charts.WIDTH - charts.RIGHT)
    y_axis = _Axis(ticks[0], ticks[-1], charts.HEIGHT - charts.BOTTOM, charts.TOP)
    x_ticks = [tick for tick in charts.nice_ticks(1, max(last, 2), 6, integer=True) if 1 <= tick <= last]
    parts = _frame(x_axis, y_axis, list(zip(x_ticks, charts.tick_texts(x_ticks))), list(zip(ticks, texts)), "epoch")
    for each, points in sorted(drawn, key=lambda pair: pair[0].number in best):
        tone = "top" if each.number in best else "rest" if each.state == "finished" else "ended"
        places = [(x_axis.at(x), y_axis.at(min(max(y, ticks[0]), ticks[-1]))) for x, y in points]
        tip = tag("title", escaped(trial_line(each, metric)))
        parts.append(tag("path", tip, class_=f"curve {tone}", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)))
        if len(places) == 1 or tone == "ended":
            parts.append(tag("circle", tip, cx=places[-1][0], cy=places[-1][1], r=2.0, class_=f"dot {tone}"))
    return _svg(parts, f"{metric} by epoch of every trial")


def _shown(curve: Sequence[float | None], metric: str) -> list[tuple[int, float]]:
    sign = -1 if metric == "loss" else 1
    return [
        (epoch, sign * value)
        for epoch, value in enumerate(curve, 1)
        if value is not None and math.isfinite(value) and abs(value) < 1e29
    ]


def _trimmed(values: Sequence[float], metric: str) -> tuple[float, float]:
    """The range to draw: losses that exploded do not hide the others."""
    low, high = min(values), max(values)
    if metric == "loss" and len(values) > 4:
        high = min(high, low + 4 * max(statistics.median(values) - low, 1e-12))
    return low, max(high, low + 1e-9)


def _best(trials: Sequence[Trial]) -> set[int]:
    finished = sorted(
        (each for each in trials if each.state == "finished" and each.value is not None),
        key=lambda each: -(each.value or 0),
    )
    return {each.number for each in finished[: max(1, round(TOP_SHARE * len(finished)))]}


def _legend() -> list[str]:
    items = [
        tag("li", f'<svg class="swatch" viewBox="0 0 22 8"><path class="curve {tone}" d="M1 4H21"/></svg>{name}')
        for tone, name in (("top", "the best tenth"), ("rest", "finished"), ("ended", "stopped early"))
    ]
    return [tag("ul", "".join(items), class_="legend")]


def slice_chart(trials: Sequence[Trial], axis: Axis, metric: str) -> str:
    """One key against the score: a dot a trial."""
    key, place, ends = axis
    dots = [
        (place(each.change[key]), each)
        for each in trials
        if key in each.change and each.value is not None and abs(each.value) < 1e29
    ]
    if not dots:
        return ""
    sign = -1 if metric == "loss" else 1
    low, high = _trimmed([sign * (each.value or 0) for _, each in dots], metric)
    ticks = charts.nice_ticks(low, high)
    texts = charts.percent_texts(ticks) if formatting.is_share(metric) else charts.tick_texts(ticks)
    x_axis = _Axis(0, 1, _left(texts), charts.WIDTH - charts.RIGHT - 10)
    y_axis = _Axis(ticks[0], ticks[-1], charts.HEIGHT - charts.BOTTOM, charts.TOP)
    parts = _frame(x_axis, y_axis, [(0, ends[0]), (1, ends[1])], list(zip(ticks, texts)), key)
    best = _best(trials)
    for x, each in sorted(dots, key=lambda pair: pair[1].number in best):
        tone = "top" if each.number in best else "rest" if each.state == "finished" else "ended"
        y = min(max(sign * (each.value or 0), ticks[0]), ticks[-1])
        tip = tag(
            "title",
            escaped(
                f"{formatting.value_text(each.change[key])}: {score_text(metric, each.value)}, trial {each.number}"
            ),
        )
        parts.append(tag("circle", tip, cx=x_axis.at(x), cy=y_axis.at(y), r=3.0, class_=f"dot {tone}"))
    return _svg(parts, f"{metric} by {key}")


def parallel(trials: Sequence[Trial], axes: Sequence[Axis], metric: str) -> str:
    """A line a finished trial through all keys to its score; the best tenth strong."""
    rows = [each for each in trials if each.state == "finished" and each.value is not None and abs(each.value) < 1e29]
    if len(rows) < 2 or not axes:
        return ""
    values = [each.value or 0.0 for each in rows]
    low, high = min(values), max(values)
    wide = max(charts.WIDTH, 96.0 * len(axes) + 96)
    step = (wide - 110) / len(axes)
    top, under = 34.0, charts.HEIGHT - 30
    parts: list[str] = []
    shown = [
        *((key.rpartition(".")[2], ends) for key, _, ends in axes),
        (metric, (score_text(metric, low), score_text(metric, high))),
    ]
    for at, (title, ends) in enumerate(shown):
        x = 50 + at * step
        parts += [
            tag("path", d=f"M{x:.1f} {top}V{under}", class_="axis"),
            tag("text", escaped(title), x=x, y=14.0, text_anchor="middle"),
            tag("text", escaped(ends[1]), x=x, y=28.0, text_anchor="middle", class_="kind"),
            tag("text", escaped(ends[0]), x=x, y=under + 14, text_anchor="middle", class_="kind"),
        ]  # fmt: skip
    best = _best(trials)
    for each in sorted(rows, key=lambda row: row.number in best):
        share = (each.value - low) / (high - low) if high > low and each.value is not None else 0.5
        points = [
            (50 + at * step, place(each.change[key])) for at, (key, place, _) in enumerate(axes) if key in each.change
        ]
        points.append((50 + len(axes) * step, share))
        path = "M" + "L".join(f"{x:.1f} {under - y * (under - top):.1f}" for x, y in points)
        tip = tag("title", escaped(trial_line(each, metric)))
        parts.append(tag("path", tip, class_=f"curve {'top' if each.number in best else 'rest'}", d=path))
    return tag(
        "svg",
        "".join(parts),
        viewBox=f"0 0 {wide:g} {charts.HEIGHT:g}",
        role="img",
        aria_label="keys and score of every finished trial",
        width=f"{wide:g}",
    )


def _trials(trials: Sequence[Trial], metric: str) -> str:
    keys = list(dict.fromkeys(key for each in trials for key in each.change))
    columns = ["trial", "state", metric or "score", "epochs", "time", *keys, "reason"]
    head = tag("tr", "".join(tag("th", escaped(name)) for name in columns))
    rows = []
    for each in _ordered(trials)[:MOST_ROWS]:
        values = [formatting.value_text(each.change[key]) if key in each.change else "" for key in keys]
        cells = [
            str(each.number),
            each.state,
            score_text(metric, each.value),
            str(len(each.curve)),
            formatting.duration(each.seconds),
            *values,
            formatting.clipped(each.reason, 160),
        ]
        rows.append(tag("tr", "".join(tag("td", escaped(cell)) for cell in cells)))
    return tag("table", tag("thead", head) + tag("tbody", "".join(rows)), class_="layers")


STYLE = """
.chart{width:100%;max-width:640px;display:block}.grid{stroke:var(--line);fill:none;stroke-width:.6}
.axis{stroke:var(--dim);fill:none}.ticks text,.axis-title{fill:var(--dim);font-size:11px}
.curve{fill:none;stroke-width:1}.curve.top{stroke:#c2571a;stroke-width:2}.curve.rest{stroke:#5b8bd0;opacity:.7}
.curve.ended{stroke:var(--dim);opacity:.35}.dot.top{fill:#c2571a}.dot.rest{fill:#5b8bd0}.dot.ended{fill:var(--dim);opacity:.5}
.bar-one{fill:#5b8bd0}.bar-two{fill:#d9a441}.whisker{stroke:var(--ink);stroke-width:1.2}
.grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(280px,1fr));gap:16px}
.legend{list-style:none;padding:0;display:flex;gap:18px;font-size:13px}.swatch{width:22px;height:8px;margin-right:6px}
"""
