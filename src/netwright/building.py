"""A resolved recipe and its examples → seeded, placed pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from netwright.data.augmenting import Augmenter
from netwright.data.batch_sources import BatchSource
from netwright.data.examples import Examples
from netwright.data.loading import ArrayBatches
from netwright.errors import RecipeError
from netwright.nn import keeping
from netwright.objectives import choosing
from netwright.objectives.own import OwnObjective
from netwright.optim import optimizers, schedules
from netwright.preprocess import ImagePreprocess, InputFile, input_shape
from netwright.preprocess.with_torch import Prepared
from netwright.recipe.schema import Recipe
from netwright.records import NetworkFile

EVALUATION_BATCH = 256

Material = Examples | BatchSource
Loss = Callable[..., torch.Tensor]


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
        raise RecipeError(
            "train.device", f"{name!r} ({text})", "a device of this machine", "--set train.device=cpu"
        ) from error
    return place


def network_file(recipe: Recipe, material: Material) -> NetworkFile:
    return keeping.describe(
        recipe.network.name, input_shape(material.preprocess[0]), material.outputs or 0, width=recipe.network.width,
        depth=recipe.network.depth, dropout=recipe.network.dropout, arguments=recipe.network.arguments,
    )  # fmt: skip


def objective(recipe: Recipe, inputs: InputFile, material: Material | None, loss: Loss | None = None) -> Any:
    """The objective; balanced class weights are counted on the training part. ``loss``: one of the user's own.

    Without ``material`` (at prediction, where nothing is learned) there are no class weights.
    """
    counts: list[float] | None = None
    outputs = len(inputs.targets) if inputs.task == "regression" else len(inputs.classes)
    if isinstance(material, Examples) and material.task == "classification" and loss is None:
        targets = material.parts["train"].part_targets()
        totals = np.bincount(targets, minlength=outputs) if targets.ndim == 1 else targets.sum(0)
        counts = [float(total) for total in totals]
    if loss is not None:
        return OwnObjective(loss, inputs.task)
    if recipe.objective.loss == "python":
        raise RecipeError(
            "objective.loss", "a loss that came from Python", "that loss again", "netwright.fit(..., loss=...)"
        )
    options = recipe.objective
    if material is None and options.class_weights != "none":
        options = msgspec.structs.replace(options, class_weights="none")
    return choosing.objective(
        options, inputs.task, outputs, class_counts=counts, target_mean=inputs.target_mean,
        target_std=inputs.target_std,
    )  # fmt: skip


def optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    if recipe.train.optimizer == "python":
        raise RecipeError(
            "train.optimizer",
            "an optimizer that came from Python",
            "that optimizer again",
            "netwright.fit(..., optimizer=...)",
        )
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise RecipeError("network", "no trainable parameter", "at least one", "unfreeze a layer")
    return optimizers.build(network, recipe.train)


def rate(recipe: Recipe, epochs: int, steps_per_epoch: int) -> Callable[[int], float]:
    return schedules.factor(recipe.train, epochs * steps_per_epoch, steps_per_epoch)


def batches(
    recipe: Recipe, examples: Examples, part: str, place: torch.device, *, training: bool = False
) -> ArrayBatches:
    """Batches of a part: shuffled and augmented for training, in order otherwise."""
    augment = None
    if training:
        first = examples.preprocess[0]
        augmenter = Augmenter(
            recipe.augment, recipe.seed, first, classes=examples.outputs if examples.task == "classification" else None
        )
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
