"""A resolved recipe and its examples → seeded, placed pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from netwright.data.augmenting import Augmenter
from netwright.data.examples import Examples
from netwright.data.loading import ArrayBatches
from netwright.errors import RecipeError
from netwright.nn import keeping
from netwright.objectives import choosing
from netwright.optim import optimizers, schedules
from netwright.preprocess import ImagePreprocess, InputFile, input_shape
from netwright.preprocess.with_torch import Prepared
from netwright.recipe.schema import Recipe
from netwright.records import NetworkFile

EVALUATION_BATCH = 256


def device(recipe: Recipe) -> torch.device:
    """The device that the recipe names; ``auto`` takes a GPU where there is one."""
    name = recipe.train.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        place = torch.device(name)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        text = str(error).splitlines()[0]
        raise RecipeError("train.device", f"{name!r} ({text})", "a device of this machine", "--set train.device=cpu") from error
    return place


def input_file(examples: Examples) -> InputFile:
    """The preprocessing record of a run; regression learns targets of mean 0 and deviation 1."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    if examples.task == "regression":
        values = examples.parts["train"].part_targets().astype(np.float64).reshape(-1, examples.outputs)
        mean = tuple(float(value) for value in values.mean(0))
        std = tuple(float(value) if value > 1e-12 else 1.0 for value in values.std(0))
    return InputFile(
        inputs=examples.preprocess, input_names=examples.input_names, task=examples.task, classes=examples.classes,
        targets=examples.targets, target_mean=mean, target_std=std,
    )  # fmt: skip


def network_file(recipe: Recipe, examples: Examples) -> NetworkFile:
    return keeping.describe(
        recipe.network.name, input_shape(examples.preprocess[0]), examples.outputs, width=recipe.network.width,
        depth=recipe.network.depth, dropout=recipe.network.dropout, arguments=recipe.network.arguments,
    )  # fmt: skip


def objective(recipe: Recipe, inputs: InputFile, outputs: int, examples: Examples | None = None) -> Any:
    """The objective; balanced class weights are counted on the training part."""
    counts = None
    if examples is not None and examples.task == "classification":
        targets = examples.parts["train"].part_targets()
        counts = np.bincount(targets, minlength=outputs) if targets.ndim == 1 else targets.sum(0)
        counts = [float(count) for count in counts]
    return choosing.objective(
        recipe.objective, inputs.task, outputs, class_counts=counts, target_mean=inputs.target_mean,
        target_std=inputs.target_std,
    )  # fmt: skip


def optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trainable:
        raise RecipeError("network", "no trainable parameter", "at least one", "unfreeze a layer")
    return optimizers.build(network, recipe.train)


def rate(recipe: Recipe, epochs: int, steps_per_epoch: int) -> Callable[[int], float]:
    return schedules.factor(recipe.train, epochs * steps_per_epoch, steps_per_epoch)


def batches(recipe: Recipe, examples: Examples, part: str, place: torch.device, *, training: bool = False) -> ArrayBatches:
    """Batches of a part: shuffled and augmented for training, in order otherwise."""
    augment = None
    if training:
        first = examples.preprocess[0]
        augmenter = Augmenter(recipe.augment, recipe.seed, first, classes=examples.outputs if examples.task == "classification" else None)
        augment = augmenter if augmenter.active else None
    size = recipe.train.batch_size if training else max(EVALUATION_BATCH, 1)
    assert isinstance(size, int)
    return ArrayBatches(
        examples.parts[part],
        tuple(Prepared(record, place) for record in examples.preprocess),
        size,
        seed=recipe.seed if training else None,
        augment=augment,
        names=examples.input_names,
        device=place,
        channels_last=recipe.train.layout == "channels_last" and isinstance(examples.preprocess[0], ImagePreprocess),
    )
