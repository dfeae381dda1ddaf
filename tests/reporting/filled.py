"""Run directories with known records, made without torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from netwright.data.examples import Examples, Part
from netwright.preprocess import ImagePreprocess, InputFile, Preprocess
from netwright.recipe import Recipe, override
from netwright.records import EpochRow, Finding
from netwright.reporting import cards
from netwright.runs import RunDirectory, create

EPOCHS, STEPS = 5, 20


def pictures(classes: tuple[str, ...], side: int = 8, channels: int = 1, count: int = 60) -> Examples:
    """Noise as pictures, with labels in turn."""
    generator = np.random.default_rng(0)
    raw = generator.integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % len(classes)
    whole = Part((raw,), labels, names=tuple(f"{at:03d}.png" for at in range(count)))
    record = ImagePreprocess(channels=("grey" if channels == 1 else "rgb",), size=(side, side))
    return Examples("image", "classification", {"train": whole, "validation": whole}, (record,), classes=classes)


def run_directory(
    folder: Path,
    *,
    classes: tuple[str, ...] = tuple("0123456789"),
    task: str = "classification",
    targets: tuple[str, ...] = (),
    preprocess: Preprocess | None = None,
    finished: bool = True,
    details: dict[str, Any] | None = None,
    findings: tuple[Finding, ...] = (),
    changes: dict[str, Any] | None = None,
    accuracy: float = 0.95,
) -> Path:
    """A run of five epochs; ``details`` are written as they are."""
    run = RunDirectory(create(folder, "digits"))
    record = preprocess or ImagePreprocess(channels=("grey",), size=(8, 8), mean=(0.3,), std=(0.4,))
    run.write_json(
        "environment.json",
        {
            "netwright": "0.1.0", "python": "3.12.1", "processor": "A processor", "threads": 2,
            "versions": {"torch": "2.9", "numpy": "2.3"}, "started": "2025-11-21T10:00:00",
            "data": {"examples": {"train": 1437, "validation": 360}}, "skipped": ["broken.png: not a picture"],
        },
    )  # fmt: skip
    inputs = {"task": task, "classes": list(classes), "targets": list(targets)}
    run.write_record(
        "preprocess.json", InputFile.from_dict(inputs | {"inputs": [{"type": _tag(record), **record.to_dict()}]})
    )
    asked = override(Recipe(), {"network.name": "small_resnet", **(changes or {})})
    run.write_recipe(override(asked, {"train.epochs": EPOCHS, "train.lr": 0.003, "data.task": task}), asked)
    name, best = ("accuracy", accuracy) if task == "classification" else ("mae", 12.5)
    log = run.open_log()
    log.series("loss", 1, [2.3 * math.exp(-step / 5) + 0.01 * (step % 3) for step in range(STEPS)])
    log.series("lr", 1, [0.003 * math.sin(math.pi * step / STEPS) for step in range(STEPS)])
    done = EPOCHS if finished else 2
    for epoch in range(1, done + 1):
        for split in ("train", "validation"):
            metrics = {"loss": 2.0 / epoch, name: best * (1 - 0.3 / epoch)}
            log.epoch(EpochRow(epoch=epoch, step=4 * epoch, split=split, seconds=1.5, metrics=metrics))  # type: ignore[arg-type]
    for key, value in (details or {}).items():
        log.detail(key, STEPS, value)
    for finding in findings:
        log.finding(STEPS, finding)
    log.close()
    kept = {"loss": 0.4, name: best} | ({"r2": 0.8} if task == "regression" else {})
    if finished:
        run.mark(finished=True, kept="best", best_epoch=4, metrics={"validation": kept}, seconds=8.0, step=STEPS)
    else:
        run.mark(step=8, epoch=2, seconds=3.0)
    return run.path


def _tag(record: Preprocess) -> str:
    return str(record.__struct_config__.tag)


def confusion(classes: tuple[str, ...], wrong: int = 1) -> dict[str, Any]:
    """Ten of each class; ``wrong`` of them are taken for the next one."""
    counts = np.eye(len(classes), dtype=int) * (10 - wrong) + np.roll(np.eye(len(classes), dtype=int), 1, 1) * wrong
    return {"split": "validation", "classes": list(classes), "counts": counts.tolist()}


def gallery(examples: Examples, count: int = 24) -> dict[str, Any]:
    """Details ``examples`` and ``mistakes`` of the first ``count``; every second one is wrong."""
    labels = examples.parts["validation"].part_targets()
    decisions = (labels + np.arange(len(labels)) % 2) % len(examples.classes)
    positions = np.arange(min(count, len(labels)))
    shown = cards.cards(examples, "train", positions)
    judged = cards.cards(
        examples, "validation", positions, decisions=decisions,
        probabilities=np.full((len(labels), len(examples.classes)), 0.75), losses=np.linspace(3, 0, len(labels)),
    )  # fmt: skip
    return {"examples": [card.to_dict() for card in shown], "mistakes": [card.to_dict() for card in judged]}
