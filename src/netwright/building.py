"""A resolved recipe and its examples → seeded, placed pieces."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from netwright.data.augmenting import Augmenter
from netwright.data.batch_sources import BatchSource
from netwright.data.examples import Examples
from netwright.data.loading import ArrayBatches, Share
from netwright.data.sampling import POWERS, ClassSampling
from netwright.errors import RecipeError
from netwright.nn import keeping, refitting
from netwright.nn.depth import blocks
from netwright.nn.layers.radial import Radial, place_all
from netwright.nn.surgery import replay
from netwright.nn.zoo import NETWORKS
from netwright.nn.zoo.sequence import CELLS, READS, UNROLL
from netwright.objectives import choosing
from netwright.objectives.own import OwnObjective
from netwright.optim import constraints, initializing, optimizers, schedules
from netwright.preprocess import ImagePreprocess, InputFile, TablePreprocess, TextInput, input_shape
from netwright.preprocess.with_torch import Prepared
from netwright.recipe.schema import Recipe
from netwright.records import NetworkFile

EVALUATION_BATCH = 256
SEQUENTIAL = (*CELLS, "transformer")

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
    """What is built for the material: the network's name and its arguments."""
    asked = recipe.network.arguments.get("vocabulary")
    if asked and isinstance(material.preprocess[0], TablePreprocess | ImagePreprocess):
        raise RecipeError(
            "network.arguments.vocabulary", f"{asked} ids, of values that are none", "texts, or whole numbers",
            "--network mlp",
        )  # fmt: skip
    _require_one_answer(recipe, material)
    return keeping.describe(
        recipe.network.name, input_shape(material.preprocess[0]), material.outputs or 0, width=recipe.network.width,
        depth=recipe.network.depth, dropout=recipe.network.dropout,
        arguments=_of_text(recipe.network.name, material) | _of_forecast(recipe, material) | recipe.network.arguments,
    )  # fmt: skip


def _of_text(name: str, material: Material) -> dict[str, Any]:
    """What a network by name has to know of ids: how many there are, and whether it judges texts or goes on."""
    text: TextInput | None = getattr(material, "text", None)
    if text is None or name not in NETWORKS:
        return {}
    if "vocabulary" not in inspect.signature(NETWORKS[name]).parameters:
        fitting = [each for each in NETWORKS if "vocabulary" in inspect.signature(NETWORKS[each]).parameters]
        raise RecipeError("network.name", f"{name!r} for text", ", ".join(fitting), f"--set network.name={fitting[0]}")
    of_all = {"padded": True, "read": "mean"}  # the last state of a long text has learned nothing for epochs
    return {"vocabulary": len(text.vocabulary)} | (of_all if text.length else {"read": "every"})


def _require_one_answer(recipe: Recipe, material: Material) -> None:
    """An answer at every position is asked for where a running text is learned, and nowhere else."""
    text: TextInput | None = getattr(material, "text", None)
    runs_on = text is not None and not text.length
    if recipe.network.name in SEQUENTIAL and recipe.network.arguments.get("read") == "every" and not runs_on:
        raise RecipeError(
            "network.arguments.read", "every, an answer at each position, where examples have one",
            ", ".join(read for read in READS if read != "every"), "--set network.arguments.read=mean",
        )  # fmt: skip


def _of_forecast(recipe: Recipe, material: Material) -> dict[str, Any]:
    """What a network that unrolls its answer has to know: how many series it tells at once."""
    if recipe.network.arguments.get("read") != UNROLL:
        return {}
    if material.task == "classification":
        raise RecipeError(
            "network.arguments.read", f"{UNROLL} where one class is told", "values or labels that follow each other",
            "--set network.arguments.read=last" if getattr(material, "text", None) is not None else "--network mlp",
        )  # fmt: skip
    window = getattr(material, "window", None)
    return {} if window is None else {"channels": len(window.targets)}


def refitted(recipe: Recipe, record: NetworkFile, network: nn.Module) -> NetworkFile:
    """Give ``network`` the activations, norms, dropout and noise that the recipe asks for, in place; its record.

    Raises ``RecipeError`` where batches of one example would leave a batch norm a single value a channel.
    """
    options = recipe.network
    surgeries = refitting.refit(
        network, record.input_shape, activation=options.activation, norm=options.norm, place=options.norm_place,
        groups=options.norm_groups, drop_input=options.drop_input, drop_hidden=options.drop_hidden,
        noise_hidden=options.noise_hidden, noise_weights=options.noise_weights,
    )  # fmt: skip
    replay(network, surgeries)
    if recipe.train.batch_size == 1 and (surgeries or record.kind == "zoo"):
        alone = refitting.one_value(network, record.input_shape)
        if alone:
            raise RecipeError(
                "train.batch_size", f"1, with a batch norm over one value a channel ({alone})",
                "at least 2, or a norm of single examples", "--set network.norm=layer",
            )  # fmt: skip
    return msgspec.structs.replace(record, surgeries=(*record.surgeries, *surgeries))


def initialized(recipe: Recipe, network: nn.Module, material: Material) -> None:
    """Draw the first weights as the recipe asks for, in place, on the processor; radial layers go where data lie."""
    options = recipe.network
    radial = any(isinstance(module, Radial) for module in network.modules())
    if options.init == "own" and not options.prior_bias and not radial:
        return
    if isinstance(material, Examples):
        first = next(iter(batches(recipe, material, "train", torch.device("cpu"), training=True).epoch(0)))
    else:
        first = material.first
    if len(first.inputs) != 1:
        raise RecipeError("network.init", f"a network of {len(first.inputs)} inputs", "one input", "network.init=own")
    inputs = first.inputs[0][:EVALUATION_BATCH]
    if options.init != "own":
        initializing.initialize(network, options.init, inputs)
    place_all(network, inputs)
    if options.prior_bias:
        if not isinstance(material, Examples) or material.task == "regression":
            raise RecipeError(
                "network.prior_bias", f"{material.task}, or batches without their classes",
                "classes that can be counted", "--set network.prior_bias=false",
            )  # fmt: skip
        counts, total = _counted(material, material.outputs, _sampling(recipe, material))
        initializing.prior_bias(network, inputs, counts, total, exclusive=material.task == "classification")


def _counted(examples: Examples, outputs: int, sampling: ClassSampling | None) -> tuple[list[float], int]:
    """The training examples of each class or label, and how many there are, as an epoch draws them."""
    targets = examples.parts["train"].part_targets()
    if sampling is not None:
        return [float(draws) for draws in np.pad(sampling.draws, (0, outputs - len(sampling.draws)))], len(targets)
    totals = np.bincount(targets, minlength=outputs) if targets.ndim == 1 else targets.sum(0)
    return [float(total) for total in totals], len(targets)


def _sampling(recipe: Recipe, material: Material) -> ClassSampling | None:
    """How classes are drawn; None: every example once. Raises ``RecipeError`` where there are none to count."""
    wanted = recipe.train.sampling
    if wanted == "shuffled":
        return None
    if not isinstance(material, Examples) or material.task != "classification":
        raise RecipeError(
            "train.sampling", f"{wanted} for {material.task}, or batches without their classes",
            "classes that can be counted", "--set train.sampling=shuffled",
        )  # fmt: skip
    if wanted == "balanced" and recipe.objective.class_weights == "balanced":
        raise RecipeError(
            "train.sampling", "balanced beside objective.class_weights=balanced, which then are all 1",
            "one of the two", "--set objective.class_weights=none",
        )  # fmt: skip
    return ClassSampling.of(material.parts["train"].part_targets(), POWERS[wanted])


def objective(recipe: Recipe, inputs: InputFile, material: Material | None, loss: Loss | None = None) -> Any:
    """The objective; balanced class weights are counted on the training part. ``loss``: one of the user's own.

    Without ``material`` (at prediction, where nothing is learned) there are no class weights.
    """
    counts: list[float] | None = None
    sampling = None if material is None else _sampling(recipe, material)
    outputs = len(inputs.targets) if inputs.task == "regression" else len(inputs.classes)
    if isinstance(material, Examples) and material.task == "classification" and loss is None:
        counts, _ = _counted(material, outputs, sampling)
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
    groups: Any = network
    if recipe.train.depth_rate != 1:
        groups = _by_depth(optimizers.groups(network, recipe.train), network, recipe)
    built = optimizers.build(groups, recipe.train)
    constraints.attach(built, network, recipe.train)
    return built


def _by_depth(groups: list[dict[str, Any]], network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The groups, each divided by block, the last block first: its rate is ``train.lr``, and every block further
    towards the input has ``depth_rate`` of the rate behind it (Howard and Ruder 2018, 3.2; Clark et al. 2020)."""
    if not isinstance(recipe.train.lr, float | int):
        return groups
    steps = {id(p): step for step, block in enumerate(reversed(blocks(network))) for p in block.parameters()}
    rates = {step: float(recipe.train.lr) * recipe.train.depth_rate**step for step in sorted(set(steps.values()))}
    divided = [
        {**group, "params": [p for p in group["params"] if steps.get(id(p), 0) == step], "lr": rate}
        for step, rate in rates.items() for group in groups
    ]  # fmt: skip
    return [group for group in divided if group["params"]]


def rate(recipe: Recipe, epochs: int, steps_per_epoch: int) -> Callable[[int], float]:
    return schedules.factor(recipe.train, epochs * steps_per_epoch, steps_per_epoch)


def batches(
    recipe: Recipe, examples: Examples, part: str, place: torch.device, *, training: bool = False,
    share: Share | None = None,
) -> ArrayBatches:  # fmt: skip
    """Batches of a part: shuffled and augmented for training, in order otherwise; ``share``: these rows of each."""
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
        share=share,
        sampling=_sampling(recipe, examples) if training else None,
    )
