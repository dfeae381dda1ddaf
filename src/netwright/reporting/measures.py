"""What was measured, as sections of a report: learning curves, classes, values. No torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from markupsafe import Markup

from netwright.records import EpochRow
from netwright.reporting import charts, formatting, sentences
from netwright.reporting.contents import Confusion, Contents, Scatter
from netwright.reporting.pieces import NAME, SPLIT_NAMES, SPLITS, Section

CLASSES_DRAWN = 100  # more make no picture
CLASSES_LISTED, CLASSES_FOLDED = 20, 100
CONFUSIONS_NAMED = 6
EPOCHS_LISTED = 100
STEPS_DRAWN = 400


def learning(contents: Contents) -> Section | None:
    """Curves over epochs and steps, and the same as a table."""
    shown = [chart for chart in (*_epoch_charts(contents), _step_chart(contents), _rate_chart(contents)) if chart]
    if not shown:
        return None
    return {"lead": _learning_lead(contents), "charts": shown, "table": _epoch_table(contents)}


def _kept_epoch(contents: Contents) -> int:
    """The epoch whose weights the run stands for, where it is known."""
    if contents.current.get("kept") == "best" and isinstance(contents.current.get("best_epoch"), int):
        return int(contents.current["best_epoch"])
    return 0


def _learning_lead(contents: Contents) -> list[str]:
    parts = []
    for split in ("validation", "train"):
        losses = [(row.epoch, row.metrics.get("loss")) for row in contents.rows(split)]
        known = [(epoch, loss) for epoch, loss in losses if loss is not None and math.isfinite(loss)]
        if len(known) > 1:
            (_, first), (_, last), (lowest_at, lowest) = known[0], known[-1], min(known, key=lambda pair: pair[1])
            went = "fell" if last < first else "rose" if last > first else "went"
            name = SPLIT_NAMES[split]
            parts.append(f"The {name} loss {went} from {formatting.number(first, 3)} to {formatting.number(last, 3)}.")
            if lowest_at != known[-1][0]:
                parts.append(f"It was lowest, {formatting.number(lowest, 3)}, after epoch {lowest_at}.")
            break
    if kept := _kept_epoch(contents):
        parts.append(f"The weights of epoch {kept} are kept: they did best on the validation part.")
    if bad := sum(not math.isfinite(value) for value in contents.series.get("loss", ([], []))[1]):
        parts.append(f"In {formatting.plural(bad, 'step')} the loss was not a finite number.")
    return parts


def _epoch_charts(contents: Contents) -> list[Section]:
    names = ["loss"]
    held_out = contents.rows("validation") or contents.rows("train")
    trained = {name for row in contents.rows("train") for name in row.metrics}
    if held_out:
        others = {name: value for name, value in held_out[-1].metrics.items() if name != "loss"}
        both = {name: value for name, value in others.items() if name in trained}
        names.append(sentences.telling(both) or sentences.telling(others) or "loss")
    kept = _kept_epoch(contents)
    made = []
    for name in dict.fromkeys(names):
        lines = []
        for split in SPLITS:
            rows = contents.rows(split)
            xs, ys = charts.thinned([row.epoch for row in rows], [row.metrics.get(name) for row in rows], STEPS_DRAWN)
            if xs:
                lines.append(charts.Line(SPLIT_NAMES[split], xs, ys, split))
        words = formatting.metric_name(name)
        title = f"{words[:1].upper()}{words[1:]} after each epoch"
        drawn = charts.line_chart(
            lines,
            label=_chart_label(title, lines, name),
            x_title="epoch",
            share=formatting.is_share(name),
            mark=(kept, f"epoch {kept} is kept") if kept else None,
        )
        if drawn:
            key = [(line.name, line.tone, formatting.metric(name, line.ys[-1], 3)) for line in lines]
            made.append({"title": title, "legend": Markup(charts.legend(key)), "svg": Markup(drawn)})
    return made


def _chart_label(title: str, lines: Sequence[charts.Line], name: str) -> str:
    ends = [(line.name, *(formatting.metric(name, line.ys[at], 3) for at in (0, -1))) for line in lines]
    return f"{title}: {'; '.join(f'{name} from {first} to {last}' for name, first, last in ends)}"


def _step_chart(contents: Contents) -> Section | None:
    steps, losses = contents.series.get("loss", ([], []))
    if len(charts.finite(losses)) < 2:
        return None
    window = max(5, len(losses) // 40)
    xs, ys = charts.thinned(steps, losses, STEPS_DRAWN)
    raw = charts.Line("each step", xs, ys, "raw")
    smooth = charts.Line(f"mean of {window} steps", *charts.smoothed(steps, losses, window), "smooth")
    title = "Training loss at each step"
    svg = charts.line_chart([raw, smooth], label=_chart_label(title, [smooth], "loss"), x_title="step")
    key = [(raw.name, raw.tone, ""), (smooth.name, smooth.tone, formatting.number(smooth.ys[-1], 3))]
    return {"title": title, "legend": Markup(charts.legend(key)), "svg": Markup(svg)} if svg else None


def _rate_chart(contents: Contents) -> Section | None:
    steps, rates = contents.series.get("lr", ([], []))
    known = charts.finite(rates)
    if len(known) < 2:
        return None
    line = charts.Line("learning rate", *charts.thinned(steps, rates, STEPS_DRAWN), "rate")
    title = "Learning rate"
    svg = charts.line_chart([line], label=_chart_label(title, [line], "lr"), x_title="step", log=False)
    key = [("highest", "rate", formatting.short(max(known), 3))]
    return {"title": title, "legend": Markup(charts.legend(key)), "svg": Markup(svg)} if svg else None


def _epoch_table(contents: Contents) -> Section | None:
    by_epoch: dict[int, dict[str, EpochRow]] = {}
    for row in contents.epochs:
        by_epoch.setdefault(row.epoch, {})[row.split] = row
    if not by_epoch:
        return None
    splits = [split for split in SPLITS if any(split in rows for rows in by_epoch.values())]
    names = {split: list(contents.rows(split)[-1].metrics)[:8] for split in splits}
    numbers = sorted(by_epoch)
    stride = math.ceil(len(numbers) / EPOCHS_LISTED)
    kept = _kept_epoch(contents)
    chosen = [number for at, number in enumerate(numbers) if at % stride == 0 or number in (numbers[-1], kept)]
    rows = []
    for number in chosen:
        cells = []
        for split in splits:
            metrics = by_epoch[number][split].metrics if split in by_epoch[number] else {}
            cells += [formatting.metric(name, metrics.get(name)) for name in names[split]]
        seconds = sum(row.seconds for row in by_epoch[number].values())
        rows.append({"epoch": number, "cells": cells, "seconds": formatting.duration(seconds), "kept": number == kept})
    return {
        "splits": [{"name": SPLIT_NAMES[split], "columns": len(names[split])} for split in splits],
        "columns": [formatting.metric_name(name) for split in splits for name in names[split]],
        "rows": rows,
        "note": f"one of every {stride} epochs" if stride > 1 else "",
    }


# ------------------------------------------------------------------------------------------------ classes


def classes(contents: Contents) -> Section | None:
    """The confusion matrix, the most frequent confusions in words, recall and precision of each class."""
    confusion = contents.confusion
    if confusion is None or not confusion.total:
        return None
    names = [formatting.clipped(name, NAME) or "(no name)" for name in confusion.classes]
    split = SPLIT_NAMES.get(confusion.split, confusion.split)
    pairs = _confusions(confusion)
    totals = confusion.totals
    worst = [
        {
            "true": names[row],
            "predicted": names[column],
            "text": f"{formatting.count(value)} of {formatting.count(totals[row])}",
            "share": formatting.percent(value / totals[row]),
        }
        for value, row, column in pairs[:CONFUSIONS_NAMED]
    ]
    wrong = confusion.total - confusion.right
    of = f"{formatting.count(wrong)} of {formatting.count(confusion.total)} {split} examples"
    of += " is wrong" if wrong == 1 else " are wrong"
    lead = [f"{of}." if wrong else f"None of the {formatting.count(confusion.total)} {split} examples is wrong."]
    listed = _class_rows(confusion, names)
    known = [row for row in listed if row["total"]]
    if wrong and len(known) > 1:
        low = min(known, key=lambda row: row["recall_value"])
        lead.append(f"Hardest is {low['name']}: {low['recall']} of its examples are found.")
    many = len(listed) > CLASSES_LISTED
    if many:
        listed.sort(key=lambda row: (row["recall_value"], row["precision_value"]))
    share = formatting.percent(confusion.right / confusion.total)
    label = f"Confusion matrix of {len(names)} classes, {split} part: {share} right"
    drawn = len(names) <= CLASSES_DRAWN
    return {
        "lead": lead,
        "split": split,
        "matrix": Markup(charts.matrix(names, confusion.counts, label=label)) if drawn else "",
        "not_drawn": "" if drawn else f"{len(names)} classes are too many for a picture",
        "picture": len(names) > charts.CELLS_WITH_NUMBERS,
        "worst": worst,
        "rows": listed[: CLASSES_LISTED - 5 if many else CLASSES_LISTED],
        "folded": listed[CLASSES_LISTED - 5 : CLASSES_FOLDED] if many else [],
        "left_out": max(0, len(listed) - CLASSES_FOLDED),
        "sorted": many,
    }


def _confusions(confusion: Confusion) -> list[tuple[int, int, int]]:
    """(count, true, predicted) of every pair of classes that was confused, the most frequent first."""
    numbered = enumerate(confusion.counts)
    pairs = [(value, row, at) for row, values in numbered for at, value in enumerate(values) if value and row != at]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))


def _class_rows(confusion: Confusion, names: Sequence[str]) -> list[Section]:
    totals = confusion.totals
    said = [sum(column) for column in zip(*confusion.counts)]
    rows = []
    for at, (name, counts) in enumerate(zip(names, confusion.counts)):
        recall = counts[at] / totals[at] if totals[at] else None
        precision = counts[at] / said[at] if said[at] else None
        others = [(value, names[column]) for column, value in enumerate(counts) if value and column != at]
        most = max(others, default=None, key=lambda pair: pair[0])
        rows.append(
            {
                "name": name,
                "total": totals[at],
                "total_text": formatting.count(totals[at]),
                "recall": formatting.percent(recall),
                "precision": formatting.percent(precision),
                "recall_value": 2.0 if recall is None else recall,
                "precision_value": 2.0 if precision is None else precision,
                "recall_bar": Markup(charts.bar(recall, "recall")),
                "precision_bar": Markup(charts.bar(precision, "precision")),
                "taken_for": f"{most[1]} ({formatting.count(most[0])})" if most else "",
            }
        )
    return rows


# ------------------------------------------------------------------------------------------------ values


def values(contents: Contents) -> Section | None:
    """Predicted against true values, and how far they are apart."""
    shown = [_scatter(scatter) for scatter in contents.scatter[:6]]
    shown = [each for each in shown if each]
    return {"shown": shown, "lead": shown[0]["lead"]} if shown else None


def _scatter(scatter: Scatter) -> Section:
    pairs = [(t, p) for t, p in zip(scatter.true, scatter.predicted) if t is not None and p is not None]
    pairs = [(t, p) for t, p in pairs if math.isfinite(t) and math.isfinite(p)]
    if not pairs:
        return {}
    target, split = formatting.clipped(scatter.target, NAME), SPLIT_NAMES.get(scatter.split, scatter.split)
    residuals = [p - t for t, p in pairs]
    sizes = sorted(abs(value) for value in residuals)
    typical, mean = statistics.median(sizes), math.fsum(residuals) / len(residuals)
    side = "above" if mean > 0 else "below"
    far = max(pairs, key=lambda pair: abs(pair[1] - pair[0]))
    lead = [
        f"Half of the predictions are within ±{formatting.number(typical, 3)} of the truth.",
        f"On average they lie {formatting.number(abs(mean), 3)} {side} it.",
        f"The farthest off: {formatting.number(far[1], 3)} for a true {formatting.number(far[0], 3)}.",
    ]
    label = f"{target}, {split} part, {formatting.plural(len(pairs), 'example')}"
    dots = charts.scatter(
        [t for t, _ in pairs],
        [p for _, p in pairs],
        label=f"Predicted against true {label}",
        x_title="true",
        y_title="predicted",
    )
    bars = charts.histogram(residuals, label=f"Predicted minus true {label}", x_title="predicted − true")
    note = f"{formatting.plural(len(pairs), 'example')} of the {split} part"
    return {"target": target, "note": note, "lead": lead, "scatter": Markup(dots), "residuals": Markup(bars)}
