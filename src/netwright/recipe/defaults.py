"""What ``auto`` becomes: a rule over type, shape, number of examples and classes, and nothing else. No torch."""

from __future__ import annotations

from typing import Any

from netwright.errors import RecipeError
from netwright.recipe.comparing import flat
from netwright.recipe.reading import override
from netwright.recipe.schema import FULL_BATCH, Recipe
from netwright.records import DataFacts

FEW, MANY = 10_000, 54_000
MOST_AT_ONCE = 4096  # examples of a batch, where a step takes the whole training part
SERIES = 64  # positions from which an array of channels and positions is read as a series
RISING = 0.25  # the share of a one-cycle schedule in which the rate rises
AVERAGE, AVERAGE_EVERY = 0.98, 5  # decay of the weight average an update, and the steps between two updates
OF_THE_NETWORK = ("network.width", "network.depth", "network.dropout")
AUGMENTATIONS = tuple(f"augment.{name}" for name in ("shift", "rotate", "crop", "cutout", "color", "noise", "mixup"))
LOSSES = {"classification": "cross-entropy", "multi-label": "binary-cross-entropy", "regression": "squared"}


def resolve(recipe: Recipe, facts: DataFacts) -> Recipe:
    """The recipe with every ``auto`` that the facts decide; what a measurement decides (layout, device) stays."""
    chosen = rule(facts)
    values = flat(recipe)
    if recipe.train.optimizer == "python":  # its rate is the user's, and so is its schedule
        chosen |= {"train.schedule": "constant", "train.average": 0.0}
    if recipe.train.optimizer in FULL_BATCH:
        chosen |= _whole(recipe, facts)
    if recipe.train.snapshots:  # the low rate at a cycle's end does what an average would
        chosen |= {"train.schedule": "cosine", "train.average": 0.0}
    if recipe.network.name not in ("auto", chosen["network.name"]):  # a network by name has widths of its own
        chosen = {key: value for key, value in chosen.items() if key not in OF_THE_NETWORK}
    resolved = override(recipe, {key: value for key, value in chosen.items() if values[key] == "auto"})
    if recipe.train.optimizer in FULL_BATCH and (recipe.train.batch_size, recipe.train.accumulate) == ("auto", 1):
        resolved = override(resolved, {"train.accumulate": -(-facts.examples // int(resolved.train.batch_size))})
    if resolved.train.warmup == "auto":
        rising = RISING * int(resolved.train.epochs) if resolved.train.schedule == "one-cycle" else 0.0
        resolved = override(resolved, {"train.warmup": rising})
    if resolved.train.keep == "auto":
        # The end of a one-cycle is its point, and the best of many epochs on a small validation part is mostly luck.
        falling = resolved.train.schedule == "one-cycle" or resolved.train.snapshots
        annealed = falling and not resolved.train.patience
        resolved = override(resolved, {"train.keep": "last" if annealed else "best"})
    _check(resolved, facts)
    if facts.kind != "language" and resolved.train.average not in (0.0, AVERAGE):  # which was asked for
        _check_average(resolved, facts)
    return resolved


def rule(facts: DataFacts) -> dict[str, Any]:
    """The default of every ``auto`` key for these facts. Where the numbers come from: docs/recipe.md, "The rule"."""
    shape = facts.input_shape
    picture = facts.kind in ("image", "array") and len(shape) == 3 and min(shape[1:]) >= 4
    chosen = {
        "data.task": facts.task,
        "objective.loss": LOSSES[facts.task],
        "objective.label_smoothing": 0.0,
        "train.optimizer": "adamw",
        "train.weight_decay": 0.05,
        "train.schedule": "one-cycle",
        "train.average": AVERAGE,
        **dict.fromkeys(AUGMENTATIONS, 0.0),
        "augment.flip": "none",
    }
    if facts.kind in ("text", "language"):
        return chosen | (_text(facts) if facts.kind == "text" else _language(facts))
    series = len(shape) == 2 and shape[1] >= SERIES
    return chosen | (_picture(facts) if picture else _series(facts) if series else _vector(facts))


def _picture(facts: DataFacts) -> dict[str, Any]:
    """A small residual network; the less there is to learn from, the more epochs and the more augmentation."""
    planes, height, width = facts.input_shape
    side, few = min(height, width), facts.examples < FEW
    epochs = round(10 * max(1.0, MANY / facts.examples) ** 0.2)
    return {
        "network.name": "small_resnet",
        "network.width": 16 if side < 16 else 24 if planes == 1 else 32,
        "network.depth": 1,
        "network.dropout": 0.0,
        "objective.label_smoothing": _smoothing(facts, 0.1 if few else 0.05),
        "train.epochs": min(50, epochs),
        "train.batch_size": _batch(facts, 32 if facts.examples < 4000 else 64 if few else 128),
        "train.lr": 0.01,
        "augment.shift": 0.1 if few else round((1 if planes == 1 else 2) / side, 4),
        "augment.rotate": 10.0 if few else 0.0,
        "augment.crop": 0.1 if few else 0.0,
        "augment.flip": "none"
        if planes == 1
        else "horizontal",  # grey pictures are often signs, which have a handedness
    }


def _series(facts: DataFacts) -> dict[str, Any]:
    """A residual network along the positions: sounds, and arrays of channels and positions."""
    few = facts.examples < FEW
    return {
        "network.name": "small_resnet1d",
        "network.width": 32,
        "network.depth": 1,
        "network.dropout": 0.2,
        "objective.label_smoothing": _smoothing(facts, 0.1 if few else 0.05),
        "train.epochs": min(50, round(10 * max(1.0, MANY / facts.examples) ** 0.2)),
        "train.batch_size": _batch(facts, 32 if facts.examples < 4000 else 64 if few else 128),
        "train.lr": 0.005,
    }


def _text(facts: DataFacts) -> dict[str, Any]:
    """Texts to judge: a gated recurrent network in both directions would do; the mean of what it says is read."""
    few = facts.examples < FEW
    return {
        "network.name": "gru",
        "network.width": 64 if few else 128,
        "network.depth": 1,
        "network.dropout": 0.5,
        "objective.label_smoothing": _smoothing(facts, 0.05),
        "train.epochs": 10,
        "train.batch_size": _batch(facts, 32),
        "train.lr": 0.005,
    }


def _language(facts: DataFacts) -> dict[str, Any]:
    """A text to go on with: long short-term memory, the wider the more there is to remember."""
    long = facts.examples >= 500_000
    return {
        "network.name": "lstm",
        "network.width": 256 if long else 128,
        "network.depth": 1,
        "network.dropout": 0.1 if long else 0.2,
        "train.epochs": 12 if long else 20,
        "train.batch_size": max(1, min(32, facts.examples // 4096)),
        "train.lr": 0.004,
        "train.weight_decay": 0.01,
    }


def _vector(facts: DataFacts) -> dict[str, Any]:
    """A perceptron for tables and arrays."""
    few = facts.examples < FEW
    epochs = 10 if not few else min(200, max(10, round(50 * (1000 / facts.examples) ** 0.5)))
    return {
        "network.name": "mlp",
        "network.width": 128,
        "network.depth": 2,
        "network.dropout": 0.2,
        "train.epochs": epochs,
        "train.batch_size": _batch(facts, 32 if few else 256),
        "train.lr": 0.005,
    }


# Steps until the loss of small networks on digits stands still, and the first step or trial.
WHOLE = {"rprop": (200, 0.01), "lbfgs": (20, 1.0), "cg": (100, 1.0), "cg-hs": (100, 1.0), "newton-cg": (40, 1.0)}


def _whole(recipe: Recipe, facts: DataFacts) -> dict[str, Any]:
    """One step an epoch on one fixed function: the whole training part, nothing random, no schedule."""
    epochs, rate = WHOLE[recipe.train.optimizer]
    size = recipe.train.batch_size
    pieces = max(1, -(-facts.examples // MOST_AT_ONCE)) if size == "auto" else 1
    return {
        "train.epochs": epochs, "train.lr": rate, "train.schedule": "constant", "train.average": 0.0,
        "train.weight_decay": 0.0, "network.dropout": 0.0, **dict.fromkeys(AUGMENTATIONS, 0.0), "augment.flip": "none",
        "train.batch_size": min(facts.examples, -(-facts.examples // pieces)),
    }  # fmt: skip


def _batch(facts: DataFacts, most: int) -> int:
    """At least eight steps an epoch, and never a batch of one, which a batch norm cannot learn from."""
    return max(min(2, facts.examples), min(most, facts.examples // 8))


def _smoothing(facts: DataFacts, value: float) -> float:
    return value if facts.task == "classification" and facts.outputs > 2 else 0.0


def _check(recipe: Recipe, facts: DataFacts) -> None:
    """Options that contradict each other or the data stop before anything is allocated."""
    train = recipe.train
    if train.bptt and facts.kind != "language":
        raise RecipeError(
            "train.bptt", f"{train.bptt} for data that do not go on", "0", "a running text, or leave it out"
        )
    if train.snapshots:
        _check_snapshots(recipe)
    if isinstance(train.batch_size, int) and train.batch_size > facts.examples:
        raise RecipeError(
            "train.batch_size", f"{train.batch_size}, more than the {facts.examples} training examples",
            f"at most {facts.examples}", f"--set train.batch_size={max(1, facts.examples // 8)}",
        )  # fmt: skip
    if train.optimizer not in FULL_BATCH:
        return
    if train.lr == "range-test":
        raise RecipeError(
            "train.lr", f"range-test with {train.optimizer}", "a number: it finds its steps itself",
            f"--set train.lr={WHOLE[train.optimizer][1]}",
        )  # fmt: skip
    if train.sampling != "shuffled" and not train.mini_batches:
        raise RecipeError(
            "train.sampling", f"{train.sampling} with {train.optimizer}, which follows one fixed function",
            "every example in every step", "--set objective.class_weights=balanced instead",
        )  # fmt: skip
    seen = int(train.batch_size) * train.accumulate
    if seen < facts.examples and not train.mini_batches:
        raise RecipeError(
            "train.batch_size", f"{seen} of {facts.examples} examples a step with {train.optimizer}",
            "the whole training part a step", f"--set train.batch_size={facts.examples}, or train.mini_batches=true",
        )  # fmt: skip


def _check_average(recipe: Recipe, facts: DataFacts) -> None:
    """An average over more steps than there are would be mostly of the first weights."""
    train = recipe.train
    steps = int(train.epochs) * -(-facts.examples // (int(train.batch_size) * train.accumulate))
    window = AVERAGE_EVERY / (1 - float(train.average))
    if window > steps:
        raise RecipeError(
            "train.average", f"{train.average}, the mean of some {window:.0f} steps, in a run of {steps}",
            "a window within the run", f"--set train.average={max(0.0, 1 - 4 * AVERAGE_EVERY / steps):.6g}",
        )  # fmt: skip


def _check_snapshots(recipe: Recipe) -> None:
    """Snapshots need cycles: a cosine, and an epoch for each of them at least."""
    train = recipe.train
    if train.schedule != "cosine":
        raise RecipeError(
            "train.schedule", f"{train.schedule} with {train.snapshots} snapshots", "cosine, which begins again",
            "--set train.schedule=cosine, or leave it out",
        )  # fmt: skip
    if train.snapshots < 2 or train.snapshots > int(train.epochs):
        raise RecipeError(
            "train.snapshots", f"{train.snapshots} in {train.epochs} epochs",
            "2 or more, and an epoch for each at least", f"--set train.epochs={max(2, 5 * train.snapshots)}",
        )  # fmt: skip
    if train.patience:
        raise RecipeError(
            "train.patience", f"{train.patience} with snapshots, between which the validation is worse for a while",
            "0", "--set train.patience=0",
        )  # fmt: skip
