"""Examples or batches → what a run needs of its data: facts, records, batches, and a hash to know them again."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from netwright import building
from netwright.building import Loss, Material
from netwright.data.batch_sources import BatchSource, DatasetBatches, LoaderBatches
from netwright.data.examples import Examples
from netwright.data.examples import facts as facts_of_examples
from netwright.data.loading import Batches, Share
from netwright.data.streams import LENGTH, TextStream
from netwright.errors import DataError, RecipeError
from netwright.preprocess import ImagePreprocess, InputFile, input_shape
from netwright.recipe.comparing import flat
from netwright.recipe.schema import Recipe
from netwright.records import DataFacts
from netwright.training import randomness
from netwright.training.evaluating import call, evaluation_mode

HASHED_EXAMPLES = 1000  # of each part, beside all targets


@dataclasses.dataclass
class Sources:
    """The batches of a run; ``examples`` where they come from arrays."""

    train: Batches
    validation: Batches | None
    test: Batches | None
    examples: Examples | None = None


def facts(material: Material, network: nn.Module | None) -> DataFacts:
    """What a default recipe may know. A loader that does not tell its outputs is asked through the network."""
    if isinstance(material, Examples):
        return facts_of_examples(material)
    shape = input_shape(material.preprocess[0])
    return DataFacts(
        kind="language" if isinstance(material, TextStream) else "image" if len(shape) == 3 else "array",
        task=material.task,
        input_shape=shape,
        outputs=material.outputs or _asked(material, network),
        examples=material.examples or len(material) * len(material.first),
    )  # fmt: skip


def decided(recipe: Recipe, material: Material) -> dict[str, Any]:
    """What reading the pictures decided of the recipe's ``data`` keys."""
    first = material.preprocess[0]
    if not isinstance(first, ImagePreprocess):
        return {}
    height, width = first.size
    chosen = {"channels": "+".join(first.channels), "size": f"{height}x{width}", "normalize": bool(first.mean)}
    return {f"data.{key}": value for key, value in chosen.items() if getattr(recipe.data, key) == "auto"}


def from_python(
    recipe: Recipe, material: Material, loss: Loss | None, optimizer: torch.optim.Optimizer | None
) -> dict[str, Any]:
    """What objects from Python decide of the recipe; a key that they would make idle is refused, never ignored."""
    changes: dict[str, Any] = {}
    if not isinstance(material, Examples) or len(material.preprocess) > 1:
        changes |= {
            f"augment.{name}": "none" if name == "flip" else 0.0 for name in type(recipe.augment).__struct_fields__
        }
    if isinstance(material, TextStream) and recipe.train.accumulate > 1:
        raise RecipeError(
            "train.accumulate", f"{recipe.train.accumulate} for a running text", "1", "a larger train.batch_size"
        )
    if isinstance(material, LoaderBatches):
        changes["train.batch_size"] = len(material.first)
    if loss is not None:
        changes |= {"objective.label_smoothing": 0.0, "objective.class_weights": "none"}
    if optimizer is not None:
        changes["train.lr"] = float(optimizer.param_groups[0]["lr"])
        changes["train.weight_decay"] = float(optimizer.param_groups[0].get("weight_decay", 0.0))
    asked = flat(recipe)
    for key, value in changes.items():
        if asked[key] not in ("auto", value):
            raise RecipeError(
                key, f"{asked[key]!r} beside an object that decides it", f"{value!r} or auto",
                "change the object (its transforms, batch size, rate), or leave the key out",
            )  # fmt: skip
    return changes


def _asked(material: Any, network: nn.Module | None) -> int:
    """The last axis of the network's output on the first batch; its modes and the random state stay."""
    if network is None:
        raise DataError(
            "train",
            f"batches that do not tell how many {material.task} outputs there are",
            "a dataset with classes",
            "a network of your own",
        )
    with randomness.kept(), evaluation_mode(network), torch.no_grad():
        outputs = call(network, material.first)
    return int(outputs.shape[-1]) if isinstance(outputs, torch.Tensor) and outputs.ndim > 1 else 1


def input_file(material: Material, outputs: int) -> InputFile:
    """The preprocessing record of a run; regression on arrays learns targets of mean 0 and deviation 1."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    classes, targets = material.classes, getattr(material, "targets", ())
    if isinstance(material, Examples):
        if material.task == "regression" and material.targets:
            values = material.parts["train"].part_targets().astype(np.float64).reshape(-1, material.outputs)
            mean = tuple(float(value) for value in values.mean(0))
            std = tuple(float(value) if value > 1e-12 else 1.0 for value in values.std(0))
    elif material.task == "regression":
        targets = tuple(f"y{number}" for number in range(outputs))
    elif not classes:
        classes = tuple(str(number) for number in range(outputs))
    return InputFile(
        inputs=material.preprocess, input_names=material.input_names, task=material.task, classes=classes,
        targets=targets, text=getattr(material, "text", None), window=getattr(material, "window", None),
        target_mean=mean, target_std=std,
    )  # fmt: skip


def open_batches(
    recipe: Recipe, material: Material, place: torch.device, share: Share | None = None
) -> Sources:  # fmt: skip
    """The batches of a run; ``share``: of each training batch only the rows of one of several processes."""
    if isinstance(material, Examples):
        held_out = {
            name: building.batches(recipe, material, name, place)
            for name in ("validation", "test")
            if name in material.parts
        }
        return Sources(
            building.batches(recipe, material, "train", place, training=True, share=share),
            held_out.get("validation"), held_out.get("test"), material,
        )  # fmt: skip
    if share is not None and not isinstance(material, DatasetBatches):
        raise DataError(
            "several processes", "batches that come as they come", "examples, or a Dataset, whose order is known",
            "one process, or the Dataset instead of its DataLoader",
        )  # fmt: skip
    source = settled(recipe, material)
    placed = [None if each is None else Placed(each, place) for each in (source, source.validation, source.test)]
    assert placed[0] is not None
    placed[0].share = share
    return Sources(placed[0], placed[1], placed[2])


def settled(recipe: Recipe, material: BatchSource) -> BatchSource:
    """The batches in the size and order of the recipe; of a running text also as long as the gradient goes back."""
    size = int(recipe.train.batch_size)
    if isinstance(material, TextStream):
        return material.configured(size, recipe.seed, recipe.train.bptt or LENGTH)
    return material.configured(size, recipe.seed)


class Placed:
    """Batches of the user's own, moved to the device."""

    def __init__(self, source: Batches, place: torch.device) -> None:
        self._source, self._place, self.exact = source, place, source.exact
        self.share: Share | None = None

    def __len__(self) -> int:
        return len(self._source)

    def epoch(self, epoch: int, start: int = 0) -> Any:
        for batch in self._source.epoch(epoch, start):
            if self.share is not None:
                places = self.share.rows(len(batch))
                inputs = tuple(tensor[places] for tensor in batch.inputs)
                batch = dataclasses.replace(batch, inputs=inputs, targets=batch.targets[places])
            if self._place.type == "cpu":
                yield batch
            else:
                inputs = tuple(tensor.to(self._place, non_blocking=True) for tensor in batch.inputs)
                yield dataclasses.replace(
                    batch, inputs=inputs, targets=batch.targets.to(self._place, non_blocking=True)
                )


def fingerprint(material: Material) -> dict[str, Any]:
    """Sizes and a hash (all targets, a thousand examples a part) by which a resume knows its data again."""
    if isinstance(material, TextStream):
        units = {part.where: part.ids for part in (material, material.validation, material.test) if part is not None}  # type: ignore[attr-defined]
        digest = hashlib.sha256(repr(material.text.vocabulary).encode())
        for _, ids in sorted(units.items()):
            digest.update(ids.tobytes())
        sizes = {name: len(ids) for name, ids in units.items()}
        return {"kind": "language", "task": material.task, "examples": sizes, "sha256": digest.hexdigest()}
    if not isinstance(material, Examples):
        about = {"batches": len(material), "shapes": [msgspec.to_builtins(record) for record in material.preprocess]}
        return {"kind": "batches", "task": material.task, **about}
    digest = hashlib.sha256()
    for name, part in sorted(material.parts.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(part.part_targets()).tobytes())
        positions = np.unique(np.linspace(0, len(part) - 1, HASHED_EXAMPLES).astype(np.int64))
        for array in part.inputs:
            digest.update(np.ascontiguousarray(array[part.array_rows(positions)]).tobytes())
    return {
        "kind": material.kind, "task": material.task, "classes": len(material.classes),
        "examples": {name: len(part) for name, part in material.parts.items()}, "sha256": digest.hexdigest(),
    }  # fmt: skip


def require_same(run: Path, kept: dict[str, Any], material: Material) -> None:
    """A resume on other data stops before anything is changed."""
    found = fingerprint(material)
    if {key: found[key] for key in found} != {key: kept.get(key) for key in found}:
        raise DataError(
            str(run), f"other data ({found.get('examples', found)}), then {kept.get('examples', kept)}",
            "the same examples", "netwright train, which starts a new run",
        )  # fmt: skip
