"""What can be looked at, as sections of a report: mistakes, examples, the recipe, the environment. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from netwright.preprocess.records import ArrayPreprocess, ImagePreprocess, Preprocess, SeriesPreprocess
from netwright.recipe import Recipe, difference, flat
from netwright.records import shape_text
from netwright.reporting import charts, formatting, sentences
from netwright.reporting.cards import CELLS, COUNT, WAVE_POINTS, ExampleCard
from netwright.reporting.contents import Contents
from netwright.reporting.pieces import ENTRIES, NAME, SPLIT_NAMES, SPLITS, Section, count_for, example_counts, key_entry

TABLE_ROWS = 12
PICTURES = 700_000  # characters of base64 in the whole report
RECIPE_TEXT = 40_000
OFF = (0, "none", False)


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
    counts = example_counts(contents)
    inputs = [_input_text(record) for record in contents.inputs.inputs] if contents.inputs else []
    skipped = contents.environment.get("skipped")
    skipped = [formatting.clipped(each, 200) for each in skipped] if isinstance(skipped, list) else []
    if not (cards or counts or inputs):
        return None
    parts = [count_for(counts, split) for split in SPLITS if counts.get(split)]
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
    chosen = [key_entry(key, value) for key, (_, value) in difference(Recipe(), requested).items()]
    asked = flat(requested)
    open_keys = [key for key, value in resolved.items() if value != asked[key] and asked[key] == defaults[key]]
    off = [key for key in open_keys if resolved[key] in OFF]
    decided = [key_entry(key, resolved[key]) for key in open_keys if key not in off]
    text = contents.recipe_text
    if len(text) > RECIPE_TEXT:
        text = f"{text[:RECIPE_TEXT]}\n… (the rest is in recipe.yaml)"
    lead = [
        f"{formatting.plural(len(chosen), 'key')} {'differs' if len(chosen) == 1 else 'differ'} from the default."
        if chosen
        else "Nothing differs from the default."
    ]
    return {"lead": lead, "chosen": chosen[:ENTRIES], "decided": decided[:ENTRIES], "off": off, "text": text}


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
        entries.append(key_entry(formatting.clipped(prefix, 80), value))
