"""The suspicious labels of a data set, in words and as a page. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from netwright.records import LabelCheck
from netwright.reporting import formatting, page
from netwright.reporting.cards import ExampleCard
from netwright.reporting.exhibits import PICTURES
from netwright.reporting.exhibits import _card as shown_card
from netwright.reporting.pieces import SPLIT_NAMES

SHOWN = 120  # suspects on the page, as far as their pictures leave it small
PAIRS = 20
CAUTION = "A mistake of which the networks are sure counts as a wrong label, so look before you believe it."


def headline(found: LabelCheck) -> str:
    """``23 of 1,797 labels contradict what was predicted``"""
    if not found.judges:
        return "The networks know too little to judge these labels"
    wrong, total = len(found.suspects), formatting.count(sum(found.judged.values()))
    if not wrong:
        return f"None of {total} labels contradicts what was predicted"
    verb = "contradicts" if wrong == 1 else "contradict"
    return f"{formatting.count(wrong)} of {total} labels {verb} what was predicted"


def estimate(found: LabelCheck) -> str:
    """The share of wrong labels with its interval."""
    if not found.judges:
        return "Train longer, with more examples or another network; nothing is said about the labels."
    rate, low, high = (formatting.percent(value, 2) for value in found.noise)
    return f"Estimated share of wrong labels: {rate} (95 % interval {low} – {high}, over examples). {CAUTION}"


def basis(found: LabelCheck) -> str:
    """Where the probabilities are from."""
    parts = ", ".join(f"{formatting.count(count)} for {SPLIT_NAMES[part]}" for part, count in found.judged.items())
    told = (
        f"Predicted as labelled: {formatting.percent(found.agreement, 1)}, as a mean over classes; "
        f"guessing has {formatting.percent(found.chance, 1)}."
    )
    if not found.folds:
        return (
            f"Judged by the run itself, which did not learn these examples: {parts}. {told} "
            "The training part was not judged."
        )
    return (
        f"Judged by {found.folds} trainings, each on the other {found.folds - 1} of {found.folds} parts of the "
        f"training examples, and held-out examples by all of them: {parts}. {told}"
    )


def pairs(found: LabelCheck) -> list[tuple[str, str, int]]:
    """Given label, suggested label, how often; the most frequent first."""
    counted: dict[tuple[str, str], int] = {}
    for suspect in found.suspects:
        counted[suspect.given, suspect.suggested] = counted.get((suspect.given, suspect.suggested), 0) + 1
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [(given, suggested, count) for (given, suggested), count in ordered]


def write_page(path: Path, found: LabelCheck, cards: Sequence[ExampleCard]) -> Path:
    """One HTML file that needs nothing else; ``cards``: of the first suspects, in their order."""
    made, room = [], PICTURES
    for card in cards[:SHOWN]:
        room -= len(card.png)
        if room < 0:
            break
        made.append(shown_card(card, wrong=True, judged=True))
    shown = {
        "title": found.subject, "headline": headline(found), "lead": [estimate(found), basis(found), *found.notes],
        "cards": made, "left": len(found.suspects) - len(made), "list": Path(found.file).name,
        "pairs": pairs(found)[:PAIRS],
        "cells": bool(made) and all(each["cells"] and not each["png"] and not each["wave"] for each in made),
    }  # fmt: skip
    return page.write_page(path, "labels.html.jinja", shown)
