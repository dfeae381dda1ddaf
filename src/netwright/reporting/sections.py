"""The sections of a report: from what was read of a run to the texts, numbers and charts of the page. No torch.

Each function takes the contents of a run and returns what the template shows, or None where the run has no such
thing. ``sections`` calls them; one that fails is left out, with the reason.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from markupsafe import Markup, escape

from netwright.preprocess.records import ArrayPreprocess, ImagePreprocess, Preprocess, SeriesPreprocess
from netwright.recipe import Recipe, difference, flat
from netwright.records import EpochRow, Finding, shape_text
from netwright.reporting import charts, formatting, sentences
from netwright.reporting.cards import CELLS, COUNT, WAVE_POINTS, ExampleCard
from netwright.reporting.contents import Confusion, Contents, Scatter

Section = dict[str, Any]

NAME = 40  # characters of a class's name
CLASSES_DRAWN = 100  # more make no picture
CLASSES_LISTED, CLASSES_FOLDED = 20, 100
CONFUSIONS_NAMED = 6
EPOCHS_LISTED = 100
FINDINGS_SHOWN, EVIDENCE_SHOWN, REMEDIES_SHOWN = 24, 8, 6
TABLE_ROWS = 12
STEPS_DRAWN = 400
PICTURES = 700_000  # characters of base64 in the whole report
RECIPE_TEXT = 40_000
ENTRIES, ENTRY_LENGTH = 120, 300
SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {"train": "training", "validation": "validation", "test": "test"}
STATES = {
    "finished": "finished",
    "running": "still training",
    "interrupted": "interrupted",
    "empty": "no epoch finished yet",
    "damaged": "damaged",
}
PIECES = {
    "confusion": "confusion matrix",
    "scatter": "predicted against true values",
    "mistakes": "examples with the largest loss",
    "examples": "examples of the data",
}
OFF = (0, "none", False)
SEVERITY_ORDER = {"error": 0, "warning": 1, "note": 2}


def sections(contents: Contents) -> Section:
    """Everything the template shows, by name; a section that is not there is None."""
    makers: dict[str, tuple[str, Callable[[Contents], Section | None]]] = {
        "head": ("headline", head),
        "findings": ("findings", findings),
        "learning": ("learning curves", learning),
        "classes": ("confusion", classes),
        "values": ("scatter", values),
        "mistakes": ("mistakes", mistakes),
        "data": ("examples", data),
        "recipe": ("recipe", recipe),
        "environment": ("environment", environment),
    }
    made: Section = {}
    for name, (piece, make) in makers.items():
        made[name] = contents.attempt(piece, partial(make, contents), None)
    made["head"] = made["head"] or {"name": contents.directory.name, "headline": contents.directory.name, "facts": []}
    made["missing"] = missing(contents, made)
    return made


# ------------------------------------------------------------------------------------------------ head


def head(contents: Contents) -> Section:
    """The sentence and the key numbers."""
    run, sentence = contents.summary, headline(contents)
    part, metrics = sentences.spoken_for(run.metrics)
    telling = sentences.telling(metrics)
    number = formatting.metric(telling, metrics.get(telling), 3)
    return {
        "name": contents.directory.name,
        "state": run.state,
        "state_text": STATES[run.state],
        "started": formatting.clipped(run.started.replace("T", " ")[:16], 40),
        "headline": sentence,
        "headline_html": _emphasised(sentence, number),
        "facts": _facts(contents, part, metrics),
    }


def headline(contents: Contents) -> str:
    """What the run says in one sentence."""
    spoken = _spoken(contents)
    targets = contents.inputs.targets if contents.inputs else ()
    return sentences.headline(
        contents.summary,
        epochs=contents.planned_epochs,
        examples=spoken.total if spoken else 0,
        guessing=spoken.guessing if spoken else None,
        target=targets[0] if len(targets) == 1 and contents.task == "regression" else "",
    )


def _spoken(contents: Contents) -> Confusion | None:
    """The confusions, if they are of the part of the data that speaks for the run."""
    part, _ = sentences.spoken_for(contents.summary.metrics)
    return contents.confusion if contents.confusion and contents.confusion.split == part else None


def _emphasised(sentence: str, number: str) -> Markup:
    before, found, after = sentence.partition(f" {number} ")
    marked = Markup("{} <em>{}</em> {}").format(before, number, after) if found else escape(sentence)
    return marked.replace("held-out", Markup('<span class="whole">held-out</span>'))


def _fact(value: str, label: str, note: str = "") -> Section:
    value, note = (text.replace(" %", "\u00a0%") for text in (value, note))
    return {"value": value, "label": label, "note": note}


def _facts(contents: Contents, part: str, metrics: sentences.Metrics) -> list[Section]:
    run, spoken = contents.summary, _spoken(contents)
    facts = []
    shown = [name for name in ("accuracy", sentences.telling(metrics), "r2", "mae", "loss") if name in metrics]
    for name in list(dict.fromkeys(shown))[:3]:
        notes = []
        if name == "accuracy" and spoken and spoken.total:
            low, high = wilson(spoken.right, spoken.total)
            notes.append(f"{formatting.count(spoken.total - spoken.right)} of {formatting.count(spoken.total)} wrong")
            notes.append(f"95 % interval {100 * low:.1f} – {100 * high:.1f} %")
        if part == "test" and (other := run.metrics.get("validation", {}).get(name)) is not None:
            notes.append(f"validation {formatting.metric(name, other, 3)}")
        label = "right" if name == "accuracy" else formatting.metric_name(name)
        value = formatting.metric(name, metrics[name], 3)
        facts.append(_fact(value, f"{label}, {SPLIT_NAMES[part]}", "; ".join(notes)))
    if spoken and spoken.guessing is not None:
        facts.append(_fact(formatting.percent(spoken.guessing), "by guessing", "always saying the most frequent class"))
    if run.seconds:
        counted = [formatting.plural(run.epochs, "epoch"), formatting.plural(run.step, "step")]
        facts.append(_fact(formatting.duration(run.seconds), "of training", ", ".join(counted)))
    counts = _example_counts(contents)
    if counts.get("train"):
        held_out = [_count_for(counts, split) for split in SPLITS[1:] if counts.get(split)]
        facts.append(_fact(formatting.count(counts["train"]), "training examples", ", ".join(held_out)))
    return facts


def wilson(right: int, total: int, deviations: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share (E. B. Wilson, 1927); 1.96 deviations: 95 %."""
    if not total:
        return 0.0, 1.0
    share, square = right / total, deviations**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = deviations / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _count_for(counts: Mapping[str, int], split: str) -> str:
    return f"{formatting.count(counts[split])} for {SPLIT_NAMES[split]}"


def _example_counts(contents: Contents) -> dict[str, int]:
    known = contents.environment.get("data")
    counts = known.get("examples") if isinstance(known, Mapping) else None
    if not isinstance(counts, Mapping):
        return {}
    return {str(name): value for name, value in counts.items() if isinstance(value, int)}


# ------------------------------------------------------------------------------------------------ findings


def findings(contents: Contents) -> Section | None:
    """Root causes first, each followed by what it explains; silenced ones by their names."""
    if not contents.findings:
        return None
    latest = list({(each.code, each.layer, each.where): each for each in contents.findings}.values())
    active = [finding for finding in latest if not finding.ignored]
    codes = {finding.code for finding in active}
    active.sort(key=lambda each: (each.because_of in codes, SEVERITY_ORDER[each.severity], -each.confidence))
    silenced = [f"{each.code} ({formatting.clipped(each.ignored, 120)})" for each in latest if each.ignored]
    roots = sum(each.because_of not in codes for each in active)
    lead = f"{formatting.plural(len(active), 'finding')}." if active else "Nothing beyond what the recipe silences."
    if active and roots < len(active):
        lead = f"{formatting.plural(len(active), 'finding')}; root causes ({roots}) come first."
    return {
        "lead": lead,
        "shown": [_finding(each) for each in active[:FINDINGS_SHOWN]],
        "more": max(0, len(active) - FINDINGS_SHOWN),
        "silenced": silenced[:FINDINGS_SHOWN],
    }


def _finding(finding: Finding) -> Section:
    seen = []
    for evidence in finding.evidence[:EVIDENCE_SHOWN]:
        at = f", step {formatting.count(evidence.step)}" if evidence.step is not None else ""
        value = f"{formatting.short(evidence.value)} {formatting.clipped(evidence.unit, 40)}".rstrip()
        expected = formatting.clipped(evidence.expected, 200)
        seen.append({"what": formatting.clipped(evidence.what, 200) + at, "value": value, "expected": expected})
    remedies = []
    for remedy in finding.remedies[:REMEDIES_SHOWN]:
        entries = [_entry(key, value) for key, value in list(remedy.change.items())[:REMEDIES_SHOWN]]
        changes = [f"{entry['key']} = {entry['value']}" for entry in entries]
        remedies.append({"text": formatting.clipped(remedy.text, 400), "changes": changes})
    return {
        "code": formatting.clipped(finding.code, 80),
        "severity": finding.severity,
        "where": formatting.clipped(finding.where, 200),
        "layer": formatting.clipped(finding.layer, 120) if finding.layer != finding.where else "",
        "seen": seen,
        "expected": formatting.clipped(finding.expected, 300),
        "cause": formatting.clipped(finding.cause, 600),
        "because_of": finding.because_of,
        "remedies": remedies,
        "confirmed": formatting.clipped(finding.confirmed_by, 300),
    }


# ------------------------------------------------------------------------------------------------ learning


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
    of = f"{formatting.count(wrong)} of {formatting.count(confusion.total)} {split} examples are wrong"
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


# ------------------------------------------------------------------------------------------------ examples


def mistakes(contents: Contents) -> Section | None:
    """The examples with the largest loss, wrong ones first."""
    if not contents.mistakes:
        return None
    exact = contents.task != "regression"
    shown = contents.mistakes[:COUNT]
    cards = [_card(card, wrong=exact and card.label != card.predicted, judged=True) for card in shown]
    wrong = sum(card["wrong"] for card in cards)
    lead = ["The examples with the largest loss."]
    if exact:
        cards.sort(key=lambda card: (not card["wrong"], 0 if card["wrong"] else card["probability"]))
        if wrong < len(cards):
            lead.append(f"{wrong or 'None'} of these {len(cards)} are wrong; the others are right.")
    part = contents.confusion.split if contents.confusion else sentences.spoken_for(contents.summary.metrics)[0]
    return {
        "lead": lead,
        "part": SPLIT_NAMES.get(part, part),
        **_gallery(contents, cards, shown, judged=True, exact=exact),
    }


def data(contents: Contents) -> Section | None:
    """What the network learned from: some training examples and how they become inputs."""
    cards = [_card(card, wrong=False, judged=False) for card in contents.examples[:COUNT]]
    counts = _example_counts(contents)
    inputs = [_input_text(record) for record in contents.inputs.inputs] if contents.inputs else []
    skipped = contents.environment.get("skipped")
    skipped = [formatting.clipped(each, 200) for each in skipped] if isinstance(skipped, list) else []
    if not (cards or counts or inputs):
        return None
    parts = [_count_for(counts, split) for split in SPLITS if counts.get(split)]
    lead = [f"{formatting.plural(sum(counts.values()), 'example')}: {', '.join(parts)}."] if parts else []
    if contents.inputs and contents.inputs.classes:
        lead.append(f"{formatting.plural(len(contents.inputs.classes), 'class', 'classes')}.")
    return {
        "lead": lead,
        "inputs": inputs,
        "skipped": skipped[:50],
        "skipped_count": len(skipped),
        **_gallery(contents, cards, contents.examples[:COUNT], judged=False),
    }


def _input_text(record: Preprocess) -> str:
    match record:
        case ImagePreprocess():
            channels = [name if name in ("grey", "binary") else name.upper() for name in record.channels]
            what = f"{' + '.join(channels)} pictures of {record.size[0]} × {record.size[1]} pixels"
        case SeriesPreprocess():
            what = f"sounds of {formatting.count(record.samples)} samples at {formatting.count(record.sample_rate)} Hz"
        case ArrayPreprocess():
            what = f"arrays of {shape_text(record.shape)}"
        case _:
            kinds = [column.kind for column in record.columns]
            each = [formatting.plural(kinds.count(kind), kind) for kind in ("number", "date") if kind in kinds]
            each += (
                [formatting.plural(kinds.count("category"), "category", "categories")] if "category" in kinds else []
            )
            return f"tables of {formatting.plural(len(kinds), 'column')}: {', '.join(each)}"
    if record.mean:
        mean, std = ([formatting.number(value, 3) for value in numbers[:8]] for numbers in (record.mean, record.std))
        what += f", normalised with mean {', '.join(mean)} and deviation {', '.join(std)}"
    return what


def _card(card: ExampleCard, *, wrong: bool, judged: bool) -> Section:
    name, said = formatting.clipped(card.name, 2 * NAME), f"labelled {formatting.clipped(card.label, NAME)}"
    if judged:
        said += f", predicted {formatting.clipped(card.predicted, NAME)}"
    drawn = card.wave[:WAVE_POINTS] if not card.png else ()
    wave = charts.wave(drawn, label=f"{name}: {said}")
    cells = list(card.cells.items())[:CELLS]
    return {
        "name": name,
        "label": formatting.clipped(card.label, NAME),
        "predicted": formatting.clipped(card.predicted, NAME),
        "probability": 1.0 if card.probability is None else card.probability,
        "sure": formatting.percent(card.probability, 0) if card.probability is not None else "",
        "loss": formatting.number(card.loss, 3) if card.loss is not None else "",
        "said": said,
        "png": card.png,
        "wave": Markup(wave),
        "wrong": wrong,
        "cells": {formatting.clipped(key, NAME): formatting.clipped(value, NAME) for key, value in cells},
    }


def _gallery(
    contents: Contents, cards: list[Section], shown: Sequence[ExampleCard], *, judged: bool, exact: bool = True
) -> Section:
    """Cards as pictures, or as rows of a table where they are cells; pictures beyond the report's share are dropped."""
    others = contents.examples if judged else contents.mistakes
    total = sum(len(card.png) for card in (*shown, *others[:COUNT]))
    left = 0
    if total > PICTURES:
        share, kept = PICTURES * (2 if judged else 1) // 3, []
        for card in cards:
            share -= len(card["png"])
            if share < 0:
                break
            kept.append(card)
        left, cards = len(cards) - len(kept), kept
    tabular = bool(cards) and all(card["cells"] and not card["png"] and not card["wave"] for card in cards)
    if tabular:
        left, cards = max(0, len(cards) - TABLE_ROWS), cards[:TABLE_ROWS]
    columns = list(dict.fromkeys(name for card in cards for name in card["cells"])) if tabular else []
    numeric = [name for name in columns if all(_is_number(card["cells"].get(name, "")) for card in cards)]
    return {
        "cards": cards,
        "columns": columns,
        "numeric": numeric,
        "judged": judged,
        "exact": exact,
        "sure": any(card["sure"] for card in cards),
        "dropped": left,
    }


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("", "missing")
    return True


# ------------------------------------------------------------------------------------------------ recipe, environment


def recipe(contents: Contents) -> Section | None:
    """What was asked for, what the data decided, and the whole."""
    if contents.recipe is None:
        return None
    requested = contents.requested or contents.recipe
    resolved, defaults = flat(contents.recipe), flat(Recipe())
    chosen = [_entry(key, value) for key, (_, value) in difference(Recipe(), requested).items()]
    asked = flat(requested)
    open_keys = [key for key, value in resolved.items() if value != asked[key] and asked[key] == defaults[key]]
    off = [key for key in open_keys if resolved[key] in OFF]
    decided = [_entry(key, resolved[key]) for key in open_keys if key not in off]
    text = contents.recipe_text
    if len(text) > RECIPE_TEXT:
        text = f"{text[:RECIPE_TEXT]}\n… (the rest is in recipe.yaml)"
    lead = [
        f"{formatting.plural(len(chosen), 'key')} {'differs' if len(chosen) == 1 else 'differ'} from the default."
        if chosen
        else "Nothing differs from the default."
    ]
    return {"lead": lead, "chosen": chosen[:ENTRIES], "decided": decided[:ENTRIES], "off": off, "text": text}


def _entry(key: str, value: Any) -> Section:
    return {"key": formatting.clipped(key, 80), "value": formatting.clipped(formatting.value_text(value), ENTRY_LENGTH)}


def environment(contents: Contents) -> Section | None:
    """Where it ran: versions, processor, threads, and what was measured at the start."""
    entries: list[Section] = []
    _flatten("", contents.environment, entries)
    if not entries:
        return None
    known = contents.environment
    words = [
        f"netwright {known['netwright']}" if known.get("netwright") else "",
        f"Python {known['python']}" if known.get("python") else "",
        formatting.plural(known["threads"], "thread") if isinstance(known.get("threads"), int) else "",
        str(known.get("processor") or ""),
    ]
    lead = ", ".join(formatting.clipped(word, 100) for word in words if word)
    return {"lead": [f"{lead}."] if lead else [], "entries": entries[:ENTRIES], "more": max(0, len(entries) - ENTRIES)}


def _flatten(prefix: str, value: Any, entries: list[Section]) -> None:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            _flatten(f"{prefix}.{key}" if prefix else str(key), item, entries)
    elif not (isinstance(value, list) and not value):
        entries.append(_entry(formatting.clipped(prefix, 80), value))


# ------------------------------------------------------------------------------------------------ what is not there


def missing(contents: Contents, made: Section) -> list[Section]:
    """One line for each piece that a report of this task would have, and why this one has not."""
    lines = [{"piece": piece, "why": why} for piece, why in contents.problems.items()]
    done = contents.summary.state in ("finished", "damaged")
    wanted = {"learning": "learning curves", "mistakes": "mistakes", "data": "examples"}
    if contents.task == "classification":
        wanted["classes"] = "confusion"
    if contents.task == "regression":
        wanted["values"] = "scatter"
    for name, piece in wanted.items():
        if not made[name] and piece not in contents.problems and "records" not in contents.problems:
            why = "the run holds no record of it" if done else "comes when the run has finished"
            lines.append({"piece": piece, "why": why})
    return [{"piece": PIECES.get(line["piece"], line["piece"]), "why": line["why"]} for line in lines]
