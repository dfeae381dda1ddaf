"""What ``auto`` becomes: a rule over type, shape, number of examples and classes, and nothing else. No torch."""

from __future__ import annotations

from typing import Any

import msgspec

from netwright.errors import RecipeError
from netwright.recipe.comparing import flat
from netwright.recipe.reading import override
from netwright.recipe.schema import Recipe
from netwright.records import DataFacts


def resolve(recipe: Recipe, facts: DataFacts) -> Recipe:
    """The recipe with every ``auto`` that the facts decide; what a measurement decides (layout, device) stays."""
    chosen = rule(facts)
    values = flat(recipe)
    changes = {key: value for key, value in chosen.items() if values[key] == "auto"}
    resolved = override(recipe, changes)
    _check(resolved, facts)
    return resolved


def rule(facts: DataFacts) -> dict[str, Any]:
    """The default of every ``auto`` key for these facts."""
    image = facts.kind == "image" and len(facts.input_shape) == 3
    chosen: dict[str, Any] = {
        "data.task": facts.task,
        "network.name": "small_resnet" if image else "mlp",
        "network.width": 16 if image else 128,
        "network.depth": 2,
        "network.dropout": 0.0,
        "objective.loss": {
            "classification": "cross-entropy", "multi-label": "binary-cross-entropy", "regression": "squared"
        }[facts.task],
        "objective.label_smoothing": 0.0,
        "train.epochs": 10,
        "train.batch_size": max(1, min(128, facts.examples // 8)),
        "train.optimizer": "adamw",
        "train.lr": 3e-3,
        "train.weight_decay": 1e-2,
        "train.schedule": "one-cycle",
        "train.warmup": 2.0,
        "train.keep": "best",
        **dict.fromkeys(("shift", "rotate", "crop", "cutout", "color", "noise", "mixup"), 0.0),
    }  # fmt: skip
    return {key if "." in key else f"augment.{key}": value for key, value in chosen.items()} | {"augment.flip": "none"}


def _check(recipe: Recipe, facts: DataFacts) -> None:
    """Options that contradict each other or the data stop before anything is allocated."""
    train = recipe.train
    if isinstance(train.batch_size, int) and train.batch_size > facts.examples:
        raise RecipeError(
            "train.batch_size", f"{train.batch_size}, more than the {facts.examples} training examples",
            f"at most {facts.examples}", f"--set train.batch_size={max(1, facts.examples // 8)}",
        )  # fmt: skip


def defaults_as_builtin(facts: DataFacts) -> dict[str, Any]:
    return dict(msgspec.to_builtins(rule(facts)))
