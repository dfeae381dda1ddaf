"""A study for the terminal and as one HTML page: trials, importance, slices, parallel coordinates, curves. No torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from netwright.records import Importance, Trial, Verdict
from netwright.reporting import charts, formatting, page
from netwright.reporting.charts import _Axis, _frame, _left, _svg, escaped, tag
from netwright.reporting.pieces import Section

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
    pairs = zip(_short(list(change)), change.values(), strict=True)
    return "  ".join(f"{key}={formatting.value_text(value)}" for key, value in pairs)


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
    for column in (*_fixed(metric), *_short(keys), ""):
        made.add_column(column, justify="left" if column in ("state", "") else "right", overflow="fold")
    for each in _ordered(trials)[:most]:
        values = [formatting.value_text(each.change[key]) if key in each.change else "" for key in keys]
        made.add_row(
            str(each.number), Text(each.state, STATES[each.state]), score_text(metric, each.value),
            str(len(each.curve)), formatting.duration(each.seconds), *values,
            Text(formatting.clipped(each.reason, 60), "dim"),
        )  # fmt: skip
    return made


def _fixed(metric: str) -> tuple[str, ...]:
    """The columns of every trial; a recipe may have a key ``epochs`` beside the epochs that a trial came to."""
    return "trial", "state", metric or "score", "epochs run", "time"


def _short(keys: Sequence[str]) -> list[str]:
    """Keys by their last word where that tells them apart."""
    words = [key.rpartition(".")[2] for key in keys]
    return [word if words.count(word) == 1 else key for key, word in zip(keys, words, strict=True)]


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
    lines = []
    for place, (name, score, seeds, behind, failed) in enumerate(contestants(verdict, metric)):
        text = f"  {name:18} {score:>8} over {formatting.plural(int(seeds), 'seed')}"
        text += f"   behind by {behind}" if behind else ""
        text += f"   {failed} failed" if failed else ""
        lines.append(text + ("   winner" if place == 0 else ""))
    return lines + verdict_sentences(verdict)


def contestants(verdict: Verdict, metric: str) -> list[tuple[str, str, str, str, str]]:
    """Name, mean score, seeds, how far behind the first with its interval, failed trainings."""
    unit = " points" if formatting.is_share(metric) else ""
    rows = []
    for each in verdict.contestants:
        name, behind = "the recipe itself" if each.number < 0 else f"trial {each.number}", ""
        if each.behind is not None:
            mean, low, high = (difference_text(metric, value) for value in each.behind)
            behind = f"{mean}{unit} ({low} to {high})"
        rows.append(
            (
                name,
                score_text(metric, each.mean),
                str(len(each.scores)),
                behind,
                str(each.failed) if each.failed else "",
            )
        )
    return rows


def verdict_sentences(verdict: Verdict) -> list[str]:
    lines: list[str] = []
    if not verdict.contestants:
        return lines
    first = verdict.contestants[0]
    if first.number < 0 and verdict.clear:
        lines.append("Nothing that was tried is better than the recipe itself over other seeds.")
    elif first.number < 0:
        lines.append("Nothing that was tried is ahead of the recipe itself, nor clearly behind: more seeds would say.")
    elif verdict.better_than_default:
        lines.append("The winner is better than the recipe itself, beyond the noise between seeds.")
    elif verdict.better_than_default is not None:
        lines.append("The winner is not told apart from the recipe itself: more seeds would say (--seeds).")
    if len(verdict.contestants) > 1 and not verdict.clear and first.number >= 0:
        lines.append("The first and the second are not told apart by these seeds.")
    return lines


# ------------------------------------------------------------------------------------------------ the page


def write_page(
    path: Path | str, name: str, metric: str, trials: Sequence[Trial], found: Importance, verdict: Verdict,
    change: Mapping[str, tuple[Any, Any]], axes: Sequence[Axis], best: Trial | None,
) -> Path:  # fmt: skip
    """One self-contained page; some 400 bytes a trial and key."""
    word = metric or "score"
    sections = [
        _section(
            "The winner", verdict_sentences(verdict) or ["Not repeated over seeds: it may have been lucky."],
            columns=("", f"{word}, mean over seeds", "seeds", "behind the first", "failed"),
            rows=contestants(verdict, metric),
        ) if best is not None else None,
        _section(
            "Its recipe", ["What differs from the recipe that was tuned."] if change else [],
            columns=("key", "recipe", "winner"),
            rows=[(key, *map(formatting.value_text, values)) for key, values in change.items()],
        ),
        _section(
            "What matters", _importance(found),
            charts=[("", importance_chart(found), _bar_legend())] if found.keys else (),
        ),
        _section(
            "Learning curves", ["A line a trial; the stopped ones end where they were stopped."],
            charts=[(f"{word} after each epoch", curves(trials, metric), _legend())],
        ),
        _section(
            "Each key by itself", ["A dot a trial, at the value that it had."],
            charts=[(axis[0], slice_chart(trials, axis, metric), "") for axis in axes],
        ),
        _section(
            "All keys at once", ["A line a finished trial, from its values to its score; the best tenth strong."],
            charts=[("", parallel(trials, axes, metric), "")], kind="whole",
        ),
        _section("Trials", [], *_trials(trials, metric)),
    ]  # fmt: skip
    shown = {
        "title": f"Study {name}", "headline": _headline(verdict, best, metric), "about": _about(trials),
        "colours": (), "more": Markup(STYLE), "sections": [each for each in sections if each],
    }  # fmt: skip
    return page.write_page(path, "comparison.html.jinja", shown)


def _section(
    title: str, lead: Sequence[str], columns: Sequence[str] = (), rows: Sequence[Sequence[str]] = (),
    charts: Sequence[tuple[str, str, str]] = (), kind: str = "",
) -> Section | None:  # fmt: skip
    """``charts``: title, SVG, legend. None where there is nothing to say."""
    drawn = [
        {"title": name, "svg": Markup(svg), "legend": Markup(legend), "kind": kind}
        for name, svg, legend in charts if svg
    ]  # fmt: skip
    if not (drawn or rows or (lead and not charts)):
        return None
    numbers = range(1, len(columns)) if title != "Trials" else range(2, len(columns) - 1)
    told = [line.strip() for line in lead]
    return {"title": title, "lead": told, "columns": columns, "rows": rows, "numbers": numbers, "charts": drawn}


def _headline(verdict: Verdict, best: Trial | None, metric: str) -> str:
    """Who won, if anyone did."""
    if verdict.contestants:
        first = verdict.contestants[0]
        if first.number < 0:
            return "Nothing tried is better than the recipe itself" if verdict.clear else "No winner beyond the recipe"
        score = f"{metric or 'score'} {score_text(metric, first.mean)}"
        beaten = "better than the recipe itself" if verdict.better_than_default else "ahead, but not beyond the noise"
        return f"Trial {first.number} is {beaten}: {score} over seeds"
    if best is None:
        return "No trial has finished"
    return f"Best so far is trial {best.number}: {metric or 'score'} {score_text(metric, best.value)}"


def _about(trials: Sequence[Trial]) -> str:
    spent = formatting.duration(sum(each.seconds for each in trials))
    return f"{counts_text(trials)}; {spent} of training, stopped trials included."


def _importance(found: Importance) -> list[str]:
    if not found.keys:
        return [found.note[:1].upper() + found.note[1:] + "."] if found.note else []
    told = [
        f"Shares of what {found.trials} trials vary by ({found.note}).",
        "Bars are medians over bootstrap samples, whiskers their 10 % and 90 %.",
    ]
    return told if found.told_apart else [*told, "The first two keys are not told apart: more trials would say."]


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
    return _svg(parts, "importance of each key", 16 + row * len(found.keys))


def _bar_legend() -> str:
    swatch = '<svg class="swatch" viewBox="0 0 22 8"><rect class="bar-{}" width="22" height="8"/></svg>'
    names = (("one", "fANOVA"), ("two", "PED-ANOVA"))
    return tag("ul", "".join(tag("li", swatch.format(tone) + name) for tone, name in names), class_="legend")


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
    x_axis = _Axis(min(1, last - 1), max(2, last), _left(texts), charts.WIDTH - charts.RIGHT)
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


def _legend() -> str:
    items = [
        tag("li", f'<svg class="swatch" viewBox="0 0 22 8"><path class="curve {tone}" d="M1 4H21"/></svg>{name}')
        for tone, name in (("top", "the best tenth"), ("rest", "finished"), ("ended", "stopped early"))
    ]
    return tag("ul", "".join(items), class_="legend")


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
        *zip(_short([key for key, _, _ in axes]), (ends for _, _, ends in axes), strict=True),
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
        class_="chart",
    )


def _trials(trials: Sequence[Trial], metric: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of the table of all trials."""
    keys = list(dict.fromkeys(key for each in trials for key in each.change))
    rows: list[tuple[str, ...]] = []
    for each in _ordered(trials)[:MOST_ROWS]:
        values = [formatting.value_text(each.change[key]) if key in each.change else "" for key in keys]
        numbers = score_text(metric, each.value), str(len(each.curve)), formatting.duration(each.seconds)
        rows.append((str(each.number), each.state, *numbers, *values, formatting.clipped(each.reason, 160)))
    return (*_fixed(metric), *keys, "reason"), rows


STYLE = """
.curve { fill: none; stroke-width: 1; }
.curve.top { stroke: var(--wrong); stroke-width: 2; }
.curve.rest { stroke: var(--accent); opacity: .6; }
.curve.ended { stroke: var(--soft); opacity: .35; }
.dot.top { fill: var(--wrong); } .dot.rest { fill: var(--accent); } .dot.ended { fill: var(--soft); opacity: .5; }
.bar-one { fill: var(--accent); } .bar-two { fill: var(--rate); } .whisker { stroke: var(--ink); stroke-width: 1.2; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: 24px; }
.plot.whole { max-width: none; overflow-x: auto; } .plot.whole svg { min-width: 640px; }
.swatch .curve { stroke-width: 2.6; } .swatch .curve.rest { opacity: 1; } .swatch .curve.ended { opacity: .6; }
"""
